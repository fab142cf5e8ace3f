// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <zoq/core/settings.hpp>
#include <zoq/exec/cpu.hpp>
#include <zoq/io/mapped_file.hpp>
#include <zoq/io/mask_file.hpp>
#include <zoq/io/open_model_file.hpp>
#include <zoq/io/utf8.hpp>
#include <zoq/view/delta.hpp>

#include "option_checks.hpp"

namespace zoq::cli {

namespace {
std::vector<std::string> compute_names() {
  std::vector<std::string> out = {"auto"};
  for (const zoq::compute c : all_computes) {
    out.emplace_back(name_of(c));
  }
  return out;
}
std::vector<std::string> kernel_names() {
  std::vector<std::string> out = {"auto"};
  for (const instruction_set set : all_instruction_sets) {
    out.emplace_back(name_of(set));
  }
  return out;
}
}  // namespace

instruction_set kernels_named(const std::string& name) {
  return name == "auto" ? best_instruction_set() : instruction_set_named(name);
}

zoq::compute products_named(const std::string& compute, const std::string& kernels, bool pairs) {
  return compute == "auto" ? compute_for_tuning(kernels_named(kernels), pairs)
                           : compute_named(compute);
}

zoq::compute device_products_named(const std::string& compute, bool pairs) {
  if (compute == "auto") {
    return pairs ? zoq::compute::bf16 : zoq::compute::f32;
  }
  return compute_named(compute);
}

void add_executor_options(CLI::App& app, std::string& compute, std::string& kernels, int& threads) {
  app.add_option("--compute", compute, "What matrix products use")
      ->check(CLI::IsMember(compute_names()))
      ->capture_default_str();
  app.add_option("--kernels", kernels, "SIMD variant: the best of this machine, or a named one")
      ->check(CLI::IsMember(kernel_names()))
      ->capture_default_str();
  app.add_option("--threads", threads, "Threads; 0: one for each core")
      ->check(whole_number(0, 4096))
      ->capture_default_str();
}

void add_estimator_options(CLI::App& app, std::string& estimator, std::optional<int>& probes) {
  app.add_option("--estimator", estimator,
                 "How losses become a gradient: a name, or name:setting=value,... (zoq policies)")
      ->capture_default_str();
  app.add_option("--probes", probes,
                 "Directions of each step; by default as the estimator has them")
      ->check(whole_number(1, 1 << 16));
}

any_estimator::list estimator_option(const std::string& estimator, std::optional<int> probes) {
  auto out = from_option("--estimator",
                         [&] { return policy_named<any_estimator::list>("estimator", estimator); });
  std::visit(
      [&]<class E>(E& one) {
        if constexpr (requires { one.probes; }) {
          one.probes = probes.value_or(one.probes);
        } else {
          require_option(probes.value_or(1) == 1, "--probes",
                         text(E::name, " has one direction a step"));
        }
      },
      out);
  return out;
}

std::optional<double> epsilon_given(const std::string& epsilon, const std::string& estimator) {
  const std::string key = "epsilon=";
  const std::size_t at = estimator.find(key);
  if (at != estimator.npos) {
    require_option(epsilon == "auto", "--epsilon", "--estimator " + estimator + " names one too");
    const std::size_t first = at + key.size();
    return epsilon_given(estimator.substr(first, estimator.find(',', at) - first), "");
  }
  if (epsilon == "auto") {
    return {};
  }
  std::size_t used = 0;
  double value = 0;
  try {
    value = std::stod(epsilon, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  require_option(used == epsilon.size() && value > 0 && value <= 1e30, "--epsilon",
                 "wanted a positive number up to 1e30 or auto, found \"" + epsilon + "\"");
  return value;
}

index_t bytes_option(const char* option, const std::string& given) {
  std::size_t used = 0;
  double value = -1;
  try {
    value = std::stod(given, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  std::string unit = given.substr(used);
  unit.erase(0, unit.find_first_not_of(' ') == std::string::npos ? unit.size()
                                                                 : unit.find_first_not_of(' '));
  std::transform(unit.begin(), unit.end(), unit.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  double factor = 0;
  if (unit.empty() || unit == "b") {
    factor = 1;
  } else {
    const std::size_t power = std::string("kmgt").find(unit[0]);
    const std::string behind = unit.substr(1);
    if (power != std::string::npos && (behind == "b" || behind == "ib")) {
      factor = std::pow(behind == "ib" ? 1024.0 : 1000.0, static_cast<double>(power + 1));
    }
  }
  const bool digit = !given.empty() && (std::isdigit(static_cast<unsigned char>(given[0])) != 0);
  const double bytes = std::floor(value * factor);
  require_option(digit && used != 0 && factor > 0 && bytes >= 1 && bytes <= 0x1p62, option,
                 "wanted bytes, such as 268435456, 256MiB or 5GB, found \"" + given + "\"");
  return static_cast<index_t>(bytes);
}

void model_options::add_to(CLI::App& app) {
  app.add_option("--model", model,
                 "The model: a GGUF file, a Hugging Face folder, or what quantize wrote")
      ->required()
      ->check(not_empty());
  app.add_option("--device", device, "Where the model runs")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  add_executor_options(app, compute, kernels, threads);
  app.add_flag("--special-tokens", special_tokens,
               "Markers such as <|im_start|> in texts are control tokens, not plain text");
  app.add_flag("--json", json, "Print one line of JSON at the end of standard output");
}

model_options model_options::in_float() const {
  model_options out = *this;
  out.compute = name_of(zoq::compute::f32);
  return out;
}

void model_options::validate() const {
  require_option(device == "cpu" || (kernels == "auto" && threads == 0), "--device",
                 "--kernels and --threads are for --device cpu");
  require_option(device == "cpu" || compute != name_of(zoq::compute::i8), "--compute",
                 "i8 is for --device cpu");
}

opened_model::opened_model(const std::string& name) : opened_model(open_model_file(name)) {}

namespace {
const model_file& with_tokenizer(const model_file& file) {
  require(file.has("tokenizer.ggml.model"), file.path(),
          is_folder_at(file.path()) ? "/tokenizer.json: there is no such file"
                                    : ": has no tokenizer (metadata tokenizer.ggml.model)");
  return file;
}
}  // namespace

opened_model::opened_model(const model_file& file)
    : path(file.path()), model(llama::from(file)), words(with_tokenizer(file)) {
  require(words.size() <= model.config().vocabulary, file.path(), ": the tokenizer has ",
          words.size(), " tokens, the embedding ", model.config().vocabulary, " rows");
}

task_rows read_task(const std::string& path, const opened_model& m, special mode,
                    const objective_options& how) {
  const text_rows rows = read_rows(path);
  task_rows out;
  try {
    out.rows = encode_rows(m.words, rows, mode);
  } catch (const error& e) {
    fail(path, ": ", e.what());
  }
  const index_t context = m.model.config().context;
  for (std::size_t r = 0; r < out.rows.size(); ++r) {
    const index_t tokens = context_of(out.rows[r]);
    require(tokens <= context, path, ":", r + 1, ": ", tokens,
            " tokens are more than the model's context of ", context);
  }
  try {
    out.objective = how.named(kind_of(rows[0]));
  } catch (const error& e) {
    fail(path, ": ", e.what());
  }
  return out;
}

void objective_options::add_to(CLI::App& app) {
  app.add_option(
      "--objective", objective,
      "The loss of a row: a name, or name:setting=value,... (zoq policies); by default what "
      "suits the rows");
  app.add_option("--score-choices", choice_score, "A choice scores its tokens' mean or sum")
      ->check(CLI::IsMember({"mean", "sum"}))
      ->capture_default_str();
}

any_objective objective_options::named(row_kind kind) const {
  any_objective out =
      objective.empty() ? default_objective(kind) : objective_named(objective, kind);
  out.visit([&](auto& one) {
    if constexpr (requires { one.score = option_score::sum; }) {
      one.score = choice_score == "sum" ? option_score::sum : option_score::mean;
    }
  });
  return out;
}

zoq::tuned_values values_for(const opened_model& m, const std::string& path) {
  zoq::tuned_values out;
  out.how = sparse_settings{};
  if (!path.empty()) {
    out = read_values(path);
    require_model({{}, out.model_hash, {}}, m.model.hash(), path);
  }
  return out;
}

std::vector<token_t> read_text(const std::string& path, const tokenizer& words, special mode) {
  const mapped_file file(path);
  require(!file.bytes().empty(), path, ": is empty");
  return words.encode({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()},
                      mode);
}

index_t peak_rss_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) {
      return std::atoll(line.c_str() + 6) * 1024;
    }
  }
  return 0;
}

void require_option(bool right, const char* option, const std::string& message) {
  if (!right) {
    throw CLI::ValidationError(option, message);
  }
}

void require_replaceable(const std::string& path, std::string_view ending) {
  require(!exists_at(path) || path.ends_with(ending), path, ": is there already, and no ", ending,
          " file");
}

void require_utf8(const char* option, const std::string& given) {
  const index_t bad = first_invalid_utf8(given);
  require_option(bad < 0, option, text("invalid UTF-8 at byte ", bad));
}

std::string figures_of(const evaluation& e) {
  char out[64];
  std::snprintf(out, sizeof out, "loss %.3f  %.0f tokens/s", e.branch[0].mean(),
                e.tokens_per_second());
  return out;
}

std::string with_commas(index_t n) {
  std::string out = std::to_string(n);
  for (std::size_t at = out.size(); at > 3 && out[at - 4] != '-';) {
    at -= 3;
    out.insert(at, ",");
  }
  return out;
}

namespace {
std::string with_one_digit(double value, const char* unit) {
  char out[64];
  std::snprintf(out, sizeof out, "%.1f%s", value, unit);
  return out;
}
}  // namespace

std::string percent(double share) { return with_one_digit(100 * share, " %"); }

nlohmann::json or_null(const std::optional<double>& value) {
  return value.has_value() ? nlohmann::json(*value) : nlohmann::json(nullptr);
}

std::string line_of(const nlohmann::json& line) {
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}
void print_json(const nlohmann::json& line) { std::cout << line_of(line) << std::flush; }

}  // namespace zoq::cli
