// SPDX-License-Identifier: Apache-2.0
#include "zoq/train/record.hpp"

#include <doctest/doctest.h>

#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "tiny_task.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/train/trajectory.hpp"

using zoq::answer;
using zoq::index_t;
using namespace zoq::test;

namespace {

const nlohmann::json settings = {{"zoq", "trajectory.1"}, {"seed", 3}, {"rate", 0.1}};
const std::string first_line = "{\"zoq\":\"trajectory.1\"}\n";

std::vector<double> numbers(const std::vector<answer>& answers) {
  std::vector<double> out;
  for (const answer& a : answers) {
    out.push_back(a.loss);
  }
  return out;
}

/// The message for a file of these bytes, without the path it must start with.
std::string error_of(const std::string& bytes) {
  const temporary_folder folder;
  const std::string path = folder / "t.jsonl";
  put(path, bytes);
  const std::string message = message_of([&] { zoq::read_trajectory(path); });
  CHECK(is_one_line(message));
  CHECK_MESSAGE(message.rfind(path + ":", 0) == 0, message);
  return message.substr(std::min(message.size(), path.size() + 1));
}

}  // namespace

TEST_CASE("trajectory: losses come back to the bit") {
  using limits = std::numeric_limits<double>;
  const temporary_folder folder;
  const std::vector<std::vector<answer>> losses = {
      {{0.1}, {1.0 / 3}},
      {{-0.0}, {5}, {limits::max()}},
      {},
      {{limits::denorm_min()}, {limits::min()}, {std::nextafter(0.6931471805599453, 1)}}};
  {
    zoq::trajectory_writer out(folder / "t", settings);
    for (std::size_t step = 0; step < losses.size(); ++step) {
      out.append(step, losses[step]);
      // A line is in the file as soon as it is written.
      CHECK(zoq::read_trajectory(folder / "t").losses.size() == step + 1);
    }
    out.flush();
  }
  const zoq::trajectory t = zoq::read_trajectory(folder / "t");
  CHECK(t.settings == settings);
  REQUIRE(t.losses.size() == losses.size());
  for (std::size_t i = 0; i < losses.size(); ++i) {
    CHECK(same_bits(numbers(t.losses[i]), numbers(losses[i])));
  }
}

TEST_CASE("trajectory: going on keeps the steps that are named, and drops the rest") {
  const temporary_folder folder;
  const std::vector<answer> one = {{1.5}};
  {
    zoq::trajectory_writer out(folder / "t", settings);
    for (std::uint64_t step = 0; step < 5; ++step) {
      out.append(step, one);
    }
  }
  const auto before = zoq::read_trajectory(folder / "t");
  {
    zoq::trajectory_writer out(folder / "t", settings, std::span(before.losses).first(2));
    out.append(2, std::vector<answer>{{2.5}});
  }
  const auto after = zoq::read_trajectory(folder / "t");
  REQUIRE(after.losses.size() == 3);
  CHECK(after.losses[1][0].loss == 1.5);
  CHECK(after.losses[2][0].loss == 2.5);
  CHECK(after.settings == settings);
  zoq::trajectory_writer again(folder / "t", settings);  // begins anew
  CHECK(zoq::read_trajectory(folder / "t").losses.empty());
}

TEST_CASE("trajectory: a line that was cut short by a crash is left out") {
  const temporary_folder folder;
  const std::string whole = first_line + "{\"step\":0,\"losses\":[1.0,2.0]}\n";
  const std::string next = "{\"step\":1,\"losses\":[3.0,4.0]}";
  for (std::size_t n = 0; n <= next.size(); ++n) {
    put(folder / "t", whole + next.substr(0, n));
    CHECK(zoq::read_trajectory(folder / "t").losses.size() == 1);
  }
  put(folder / "t", whole + next + "\n");
  CHECK(zoq::read_trajectory(folder / "t").losses.size() == 2);
}

TEST_CASE("trajectory: anything else is refused, naming file and line") {
  const temporary_folder folder;
  CHECK(message_of([&] { zoq::read_trajectory(folder / "none"); }) ==
        folder / "none" + ": there is no such file");
  const std::string no_settings = "1: not the settings of a trajectory";
  CHECK(error_of("") == no_settings);
  CHECK(error_of(first_line.substr(0, 10)) == no_settings);
  CHECK(error_of("{\"zoq\":\"trajectory.2\"}\n") == no_settings);
  CHECK(error_of("{\"zoq\":1}\n") == no_settings);
  CHECK(error_of("{\"step\":0,\"losses\":[1.0]}\n") == no_settings);
  CHECK(error_of("what\n").starts_with("1: broken JSON at column 1"));
  CHECK(error_of(first_line + "[1]\n") == "2: not a JSON object");
  CHECK(error_of(first_line + "{\"step\":0,\"losses\":[1.0]\n").starts_with("2: broken JSON"));
  CHECK(error_of(first_line + "{\"step\":0,\"step\":0}\n") == "2: key \"step\" comes twice");
  CHECK(error_of(first_line + "{\"step\":0,\"losses\":[1e999]}\n") ==
        "2: broken JSON: a number is beyond what a double holds");
  // Settings are written again by a resumed run: to any depth that would need as deep a stack.
  CHECK(error_of("{\"zoq\":\"trajectory.1\",\"a\":" + std::string(100000, '[') + "\n") ==
        "1: JSON nested deeper than 8");
  const std::string zero = first_line + "{\"step\":0,\"losses\":[1.0]}\n";
  const std::string wanted = "3: wanted the losses of step 1";
  CHECK(error_of(zero + "{\"step\":0,\"losses\":[1.0]}\n") == wanted);
  CHECK(error_of(zero + "{\"step\":2,\"losses\":[1.0]}\n") == wanted);
  CHECK(error_of(zero + "{\"step\":-1,\"losses\":[1.0]}\n") == wanted);
  CHECK(error_of(zero + "{\"step\":1.0,\"losses\":[1.0]}\n") == wanted);
  CHECK(error_of(zero + "{\"step\":\"1\",\"losses\":[1.0]}\n") == wanted);
  CHECK(error_of(zero + "{\"losses\":[1.0]}\n") == wanted);
  CHECK(error_of(zero + "{\"step\":1}\n") == wanted);
  CHECK(error_of(zero + "{\"step\":1,\"losses\":1.0}\n") == wanted);
  CHECK(error_of(zero + "{\"step\":1,\"losses\":[1.0,null]}\n") == "3: a loss is not a number");
  CHECK(error_of(zero + "{\"step\":1,\"losses\":[\"1\"]}\n") == "3: a loss is not a number");
  CHECK(error_of(zero + "\n").starts_with("3: broken JSON"));
}

TEST_CASE("line_file: a line that the disk does not take leaves the lines before it, whole") {
  const temporary_folder folder;
  zoq::line_file out(folder / "t");
  const nlohmann::json line = {{"step", 0}, {"losses", std::vector<double>(20, 0.123456789)}};
  out.append(line);
  const std::string before = contents(folder / "t");
  rlimit was = {};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &was) == 0);
  rlimit small = was;
  small.rlim_cur = before.size() + 10;  // the second line does not fit
  auto* handler = std::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  const std::string message = message_of([&] { out.append(line); });
  ::setrlimit(RLIMIT_FSIZE, &was);
  std::signal(SIGXFSZ, handler);
  CHECK(message == folder / "t" + ": cannot write: File too large");
  CHECK(contents(folder / "t") == before);
  out.append(line);
  CHECK(contents(folder / "t") == before + before);
}

TEST_CASE("trajectory: a loss that is no number is not written") {
  const temporary_folder folder;
  zoq::trajectory_writer out(folder / "t", settings);
  const std::string before = contents(folder / "t");
  CHECK(message_of([&] {
          out.append(0, std::vector<answer>{{1}, {std::nan("")}});
        }) == "trajectory: a loss of step 0 is nan");
  CHECK(contents(folder / "t") == before);
}

TEST_CASE("line_file: a file that was removed meanwhile is an error, not lines for nobody") {
  const temporary_folder folder;
  const std::string path = folder / "t";
  const zoq::line_file out(path);
  out.flush();
  std::filesystem::remove(path);
  CHECK(message_of([&] { out.flush(); }) == path + ": was removed while it was written");
}

TEST_CASE("line_file: a folder that is not there is named") {
  const temporary_folder folder;
  CHECK(message_of([&] { zoq::line_file out(folder / "none/t"); }).rfind(folder / "none/t", 0) ==
        0);
  CHECK(message_of([&] {
          zoq::trajectory_writer out(folder / "none/t", settings);
        }).rfind(folder / "none/t", 0) == 0);
  CHECK(zoq::read_lines(folder / "none").empty());
}

TEST_CASE_TEMPLATE("replay: the recorded trajectory gives the same delta to the bit", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const temporary_folder folder;
  const zoq::llama model = tiny_llama({.format = "q4_1"}).model();
  const zoq::mask places = large_weights(model);
  const std::vector<zoq::example> rows = tiny_task(7);
  const zoq::train_options options = {.steps = 8,
                                      .batch_size = 3,
                                      .seed = 5,
                                      .direction = zoq::rademacher{},
                                      .schedule = zoq::cosine{}};
  const zoq::spsa estimator{.epsilon = 1e-2, .probes = 2};
  const outcome run = train(exec, model, places, rows, options, estimator, with_state);
  {
    zoq::trajectory_writer out(folder / "t", settings);
    for (const zoq::step_result& s : run.steps) {
      out.append(s.step, s.answers);
    }
  }
  auto view = zoq::sparse_view(exec, model.tensors(), places);
  zoq::trainer trainer(exec, model, view, zoq::option_likelihood{}, estimator, with_state);
  trainer.start(rows, options);
  for (const auto& losses : zoq::read_trajectory(folder / "t").losses) {
    trainer.replay(losses);
  }
  CHECK(trainer.steps().done());
  CHECK(trainer.cost().evaluations == 0);  // no forward pass
  CHECK(same_bits(view.to_delta().values, run.values));
  // Replay is arithmetic on k values: it needs no model, and any executor gives these bits.
  const auto extents = zoq::extents_of(places);
  const zoq::value_order order{extents.data(), static_cast<index_t>(extents.size()),
                               places.count()};
  const zoq::cpu other{{.threads = 3}};
  zoq::stepper step(other, order, estimator, with_state,
                    zoq::recipe{options.steps, options.seed, options.direction, options.schedule});
  std::vector<float> values(at(places.count()));
  for (const auto& losses : zoq::read_trajectory(folder / "t").losses) {
    step.replay(values.data(), losses);
  }
  CHECK(same_bits(values, run.values));
}
