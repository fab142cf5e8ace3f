// Slope fidelity: what the arithmetic of each compute policy, and the length of the probe, do to
//
//     D(e) = (L(w + e z) - L(w - e z)) / (2 e)
//
// the slope that a zeroth-order step goes by. For every policy and epsilon, as root mean squares
// over directions z, relative to the root mean square of the true slopes:
//
//     noise    the policy's D(e) - D(e) in double: rounding
//     bias     D(e) in double - the derivative along z: curvature
//     total    the policy's D(e) - the derivative
//     sign     directions in which the policy's D(e) points the wrong way
//
//     slope_bench --model model.gguf --data movies/train.jsonl --mask run/mask.safetensors
//         [--rows 8] [--directions 16] [--epsilons 2e-4,...,2e-2] [--direction gaussian] [--seed 0]
//         [--compute all] [--threads 0] [--kernels SET] [--json FILE]
//
// The policy's slopes are those of trainer steps with spsa and rate 0: the code that trains, with
// the two branches of a pair stacked. "Apart" stands for the same with each branch evaluated alone.
// Double means bench/model/llama_f64.hpp on the same packed rows, at the very floats that the view
// made of w + e z and w - e z: what the rounding of these values does to a slope, some 1e-7 of it,
// is no part of the noise. The derivative is extrapolated from slopes in double at 1e-4 and 2e-4.
// With n directions a figure is itself sure to about 1 / sqrt(2 n) of its size.
//
// The row "auto" is the epsilon that zoq::choose_epsilon picks for the policy, with the error that it
// predicts (from a few directions of its own) beside the measured one.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>
#include <zoq/io.hpp>
#include <zoq/random/seeds.hpp>
#include <zoq/zoq.hpp>

#include "llama_f64.hpp"
#include "setup.hpp"

namespace {

using nlohmann::json;
using zoq::index_t;
using zoq::seed_t;

constexpr double derivative_step = 1e-4;  // rounding and curvature of a double slope here: < 1e-5

struct study {
  zoq::llama model;
  std::vector<zoq::example> rows;
  zoq::mask places;
  zoq::cpu_options how;  // of all policies
  zoq::any_direction direction;
  seed_t seed = 0;
  index_t directions = 0;
};

using tuned_view = zoq::laid_out_view<zoq::cpu, zoq::sparse_layout<zoq::cpu>>;

/// The name of a policy, direction or instruction set.
template <class T>
std::string named(const T& what) {
  return std::string(zoq::name_of(what));
}

/// The directions of a trainer's steps, which are those of the study.
seed_t direction_seed(const study& s, index_t d) {
  return zoq::derive_seed(s.seed, zoq::purpose::directions, static_cast<std::uint64_t>(d));
}

/// Losses at w + scale z, a query each. `Pass` is a forward pass.
template <class Pass>
std::vector<double> losses_at(const study& s, const zoq::cpu& exec, tuned_view& view, Pass& pass,
                              std::span<const zoq::query> asked) {
  view.move_to(exec, s.direction, asked);
  const zoq::evaluation e =
      zoq::evaluate(pass, view.branches(), zoq::option_likelihood{}, zoq::bench::all_of(s.rows));
  std::vector<double> out;
  for (const zoq::total& t : e.branch) {
    out.push_back(t.mean());
  }
  return out;
}

/// Slopes in double by epsilon, one for each direction, and the derivatives.
struct reference {
  std::map<double, std::vector<double>> slopes;
  std::vector<double> derivative;
};

reference measure_reference(const study& s, const std::set<double>& epsilons) {
  const zoq::cpu exec(s.how);  // moves the view, as policies do
  const zoq::cpu fastest({.threads = s.how.threads});
  auto view = zoq::sparse_view(exec, s.model.tensors(), s.places);
  zoq::bench::llama_f64<zoq::cpu> pass(fastest, s.model);
  reference out;
  std::set<double> all = epsilons;
  all.insert({derivative_step, 2 * derivative_step});
  for (index_t d = 0; d < s.directions; ++d) {
    std::fprintf(stderr, "slope_bench: double, direction %lld of %lld\n",
                 static_cast<long long>(d + 1), static_cast<long long>(s.directions));
    const seed_t seed = direction_seed(s, d);
    for (const double e : all) {
      const zoq::query pair[] = {{.seed = seed, .scale = e}, {.seed = seed, .scale = -e}};
      const std::vector<double> loss = losses_at(s, exec, view, pass, pair);
      out.slopes[e].push_back((loss[0] - loss[1]) / (2 * e));
    }
    out.derivative.push_back(
        (4 * out.slopes[derivative_step].back() - out.slopes[2 * derivative_step].back()) / 3);
  }
  return out;
}

/// One compute policy: a trainer that takes steps of rate 0.
class policy {
 public:
  policy(const study& s, zoq::compute products)
      : study_(s),
        products_(products),
        exec_(with(s.how, products)),
        view_(zoq::sparse_view(exec_, s.model.tensors(), s.places)),
        pass_(exec_, s.model),
        trainer_(exec_, s.model, view_, {}, {}, {.rate = 0}) {}

  [[nodiscard]] zoq::compute products() const { return products_; }

  /// choose_epsilon on these rows.
  zoq::epsilon_choice choose() {
    start(1e-3);
    return trainer_.measure_epsilon();
  }
  /// The slope of every direction, branches in pairs.
  std::vector<double> slopes(double epsilon) {
    start(epsilon);
    std::vector<double> out;
    for (index_t d = 0; d < study_.directions; ++d) {
      out.push_back(trainer_.advance().slope);
    }
    return out;
  }
  /// The same, each branch alone.
  std::vector<double> slopes_apart(double epsilon) {
    std::vector<double> out;
    for (index_t d = 0; d < study_.directions; ++d) {
      const seed_t seed = direction_seed(study_, d);
      double loss[2];
      for (const int side : {0, 1}) {
        const zoq::query one[] = {{.seed = seed, .scale = side == 0 ? epsilon : -epsilon}};
        loss[side] = losses_at(study_, exec_, view_, pass_, one)[0];
      }
      out.push_back((loss[0] - loss[1]) / (2 * epsilon));
    }
    return out;
  }

 private:
  static zoq::cpu_options with(zoq::cpu_options how, zoq::compute products) {
    how.products = products;
    return how;
  }
  void start(double epsilon) {
    trainer_.estimator_settings().epsilon = epsilon;
    trainer_.start(study_.rows, {.steps = static_cast<std::uint64_t>(study_.directions),
                                 .batch_size = static_cast<index_t>(study_.rows.size()),
                                 .seed = study_.seed,
                                 .direction = study_.direction});
  }

  const study& study_;
  zoq::compute products_;
  zoq::cpu exec_;
  tuned_view view_;
  zoq::llama_forward<zoq::cpu> pass_;
  zoq::trainer<zoq::cpu, zoq::llama, tuned_view, zoq::option_likelihood, zoq::spsa, zoq::sgd>
      trainer_;
};

double rms(const std::vector<double>& x) {
  double squares = 0;
  for (const double v : x) {
    squares += v * v;
  }
  return std::sqrt(squares / static_cast<double>(x.size()));
}
double rms_difference(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> out;
  for (std::size_t i = 0; i < a.size(); ++i) {
    out.push_back(a[i] - b[i]);
  }
  return rms(out);
}
index_t wrong_signs(const std::vector<double>& slopes, const std::vector<double>& truth) {
  index_t n = 0;
  for (std::size_t i = 0; i < slopes.size(); ++i) {
    n += (slopes[i] > 0) != (truth[i] > 0) ? 1 : 0;
  }
  return n;
}

/// A line of the table.
struct line {
  std::string compute;
  double epsilon = 0;
  std::optional<double> predicted{};  // of the epsilon that was chosen
  double noise = 0, bias = 0, total = 0, apart_noise = 0, apart_total = 0;
  index_t wrong = 0, apart_wrong = 0;  // directions
  std::vector<double> slopes{}, apart{};
};

line measure(policy& p, const reference& truth, double epsilon) {
  line out{.compute = named(p.products()), .epsilon = epsilon};
  out.slopes = p.slopes(epsilon);
  out.apart = p.slopes_apart(epsilon);
  const std::vector<double>& exact = truth.slopes.at(epsilon);
  const double size = rms(truth.derivative);
  out.noise = rms_difference(out.slopes, exact) / size;
  out.bias = rms_difference(exact, truth.derivative) / size;
  out.total = rms_difference(out.slopes, truth.derivative) / size;
  out.wrong = wrong_signs(out.slopes, truth.derivative);
  out.apart_noise = rms_difference(out.apart, exact) / size;
  out.apart_total = rms_difference(out.apart, truth.derivative) / size;
  out.apart_wrong = wrong_signs(out.apart, truth.derivative);
  return out;
}

/// Throws unless zoq's f32 logits and the double ones agree to 1e-4 of the largest, at the base and
/// at both ends of a long probe.
void check(const study& s) {
  const zoq::cpu exec(s.how);
  auto view = zoq::sparse_view(exec, s.model.tensors(), s.places);
  const zoq::query asked[] = {
      {}, {.seed = s.seed, .scale = 2e-2}, {.seed = s.seed, .scale = -2e-2}};
  view.move_to(exec, s.direction, asked);
  zoq::packing batch;
  for (const zoq::example& row : s.rows) {
    zoq::option_likelihood::pack(row, batch);
  }
  std::vector<float> fast;
  zoq::llama_forward<zoq::cpu>(exec, s.model).logits(batch, view.branches(), fast);
  std::vector<double> exact;
  const zoq::cpu fastest({.threads = s.how.threads});
  zoq::bench::llama_f64<zoq::cpu>(fastest, s.model).logits(batch, view.branches(), exact);
  zoq::require(fast.size() == exact.size(), "check: ", fast.size(), " logits, in double ",
               exact.size());
  double largest = 0, difference = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    largest = std::fmax(largest, std::fabs(exact[i]));
    const double d = std::fabs(static_cast<double>(fast[i]) - exact[i]);
    difference = d <= difference ? difference : d;  // NaN stays
  }
  std::fprintf(stderr, "slope_bench: f32 logits differ from double ones by %.1e of the largest\n",
               difference / largest);
  zoq::require(difference <= 1e-4 * largest, "check: f32 logits and double logits differ by ",
               difference, " of ", largest, ", wanted at most 1e-4 of it: nothing is measured");
}

std::vector<double> numbers(const std::string& option, const std::string& text) {
  std::vector<double> out;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string one = text.substr(begin, end - begin);
    char* stop = nullptr;
    out.push_back(std::strtod(one.c_str(), &stop));
    zoq::require(!one.empty() && *stop == '\0' && std::isfinite(out.back()) && out.back() > 0,
                 option, " has \"", one, "\", wanted positive numbers with commas between them");
    begin = end + 1;
  }
  return out;
}

std::string percent(double x) {
  char out[32];
  std::snprintf(out, sizeof out, x >= 0.1 ? "%.0f %%" : x >= 0.01 ? "%.1f %%" : "%.2g %%", 100 * x);
  return out;
}

// 2e-4 and 5.4e-3, not 0.0002 and 0.0054.
std::string short_number(double x) {
  char out[32];
  std::snprintf(out, sizeof out, "%.1e", x);
  std::string mantissa = out;
  const std::size_t e = mantissa.find('e');
  const std::string exponent = std::to_string(std::atoi(out + e + 1));
  mantissa.resize(e);
  if (mantissa.ends_with(".0")) {
    mantissa.resize(e - 2);
  }
  return mantissa + "e" + exponent;
}

void print(const std::vector<line>& lines, index_t directions) {
  std::printf(
      "| compute | epsilon | noise | bias | total | wrong sign | predicted | apart: noise | total "
      "| wrong sign |\n|---|---|---|---|---|---|---|---|---|---|\n");
  const auto share = [&](index_t wrong) {
    return std::to_string(wrong) + "/" + std::to_string(directions);
  };
  for (const line& l : lines) {
    std::printf("| %s | %s%s | %s | %s | %s | %s | %s | %s | %s | %s |\n", l.compute.c_str(),
                l.predicted.has_value() ? "auto: " : "", short_number(l.epsilon).c_str(),
                percent(l.noise).c_str(), percent(l.bias).c_str(), percent(l.total).c_str(),
                share(l.wrong).c_str(),
                l.predicted.has_value() ? percent(*l.predicted).c_str() : "",
                percent(l.apart_noise).c_str(), percent(l.apart_total).c_str(),
                share(l.apart_wrong).c_str());
  }
}

void write(const std::string& path, const study& s, const reference& truth,
           const std::vector<line>& lines) {
  json out = {{"directions", s.directions},
              {"rows", s.rows.size()},
              {"values", s.places.count()},
              {"kernels", zoq::name_of(s.how.kernels)},
              {"rms_slope", rms(truth.derivative)},
              {"derivative", truth.derivative},
              {"f64", json::array()},
              {"policies", json::array()}};
  for (const auto& [epsilon, slopes] : truth.slopes) {
    out["f64"].push_back({{"epsilon", epsilon}, {"slopes", slopes}});
  }
  for (const line& l : lines) {
    out["policies"].push_back({{"compute", l.compute},
                               {"epsilon", l.epsilon},
                               {"chosen", l.predicted.has_value()},
                               {"predicted", l.predicted ? json(*l.predicted) : json()},
                               {"noise", l.noise},
                               {"bias", l.bias},
                               {"total", l.total},
                               {"wrong_signs", l.wrong},
                               {"slopes", l.slopes},
                               {"apart_noise", l.apart_noise},
                               {"apart_total", l.apart_total},
                               {"apart_wrong_signs", l.apart_wrong},
                               {"apart_slopes", l.apart}});
  }
  std::ofstream file(path);
  file << out.dump(1) << "\n";
  file.close();
  zoq::require(file.good(), path, ": cannot be written");
}

study study_of(const zoq::bench::arguments& given) {
  study s{.model = zoq::bench::model_of(given),
          .rows = {},
          .places = {},
          .how = {.threads = static_cast<int>(given.number("--threads"))},
          .direction = zoq::direction_named(given.text("--direction")),
          .seed = static_cast<seed_t>(given.number("--seed")),
          .directions = given.number("--directions", 1)};
  if (!given.text("--kernels").empty()) {
    s.how.kernels = zoq::instruction_set_named(given.text("--kernels"));
  }
  s.rows = zoq::bench::rows_of(given, s.model, given.number("--rows", 1));
  const std::string& path = given.text("--mask");
  s.places = path.empty() ? zoq::bench::random_mask(s.model, given.real("--density"))
                          : zoq::read_mask(path);
  zoq::require(s.places.model_hash.empty() || s.places.model_hash == s.model.hash(), path,
               ": the mask was made for the model ", s.places.model_hash, ", this one is ",
               s.model.hash());
  zoq::require(s.places.count() > 0, "the mask has no places: nothing would be moved");
  return s;
}

void run(const zoq::bench::arguments& given) {
  const std::vector<double> epsilons = numbers("--epsilons", given.text("--epsilons"));
  std::vector<zoq::compute> computes(std::begin(zoq::all_computes), std::end(zoq::all_computes));
  if (given.text("--compute") != "all") {
    computes = {zoq::compute_named(given.text("--compute"))};
  }
  const study s = study_of(given);
  check(s);

  struct candidate {
    std::unique_ptr<policy> of;
    zoq::epsilon_choice chosen;
  };
  std::vector<candidate> candidates;
  std::set<double> all(epsilons.begin(), epsilons.end());
  for (const zoq::compute c : computes) {
    candidates.push_back({std::make_unique<policy>(s, c), {}});
    candidates.back().chosen = candidates.back().of->choose();
    all.insert(candidates.back().chosen.epsilon);
  }
  const reference truth = measure_reference(s, all);
  std::vector<line> lines;
  for (candidate& c : candidates) {
    for (const double e : epsilons) {
      std::fprintf(stderr, "slope_bench: %s, epsilon %s\n", named(c.of->products()).c_str(),
                   short_number(e).c_str());
      lines.push_back(measure(*c.of, truth, e));
    }
    lines.push_back(measure(*c.of, truth, c.chosen.epsilon));
    lines.back().predicted = c.chosen.relative_error;
  }
  index_t tokens = 0;
  for (const zoq::example& row : s.rows) {
    zoq::packing batch;
    zoq::option_likelihood::pack(row, batch);
    tokens += batch.rows();
  }
  std::printf(
      "%s; %zu rows of %lld tokens together; %lld values (%s); %lld %s directions; %s. "
      "Errors of the slope, rms over directions, of the rms slope %.3g.\n\n",
      zoq::bench::about(given, s.model).c_str(), s.rows.size(), static_cast<long long>(tokens),
      static_cast<long long>(s.places.count()), given.text("--mask").empty() ? "random" : "--mask",
      static_cast<long long>(s.directions), named(s.direction).c_str(),
      named(s.how.kernels).c_str(), rms(truth.derivative));
  print(lines, s.directions);
  if (!given.text("--json").empty()) {
    write(given.text("--json"), s, truth, lines);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run({"slope_bench", argc, argv,
         zoq::bench::model_options({{"--data", ""},
                                    {"--mask", ""},
                                    {"--density", "0.001"},
                                    {"--rows", "8"},
                                    {"--directions", "16"},
                                    {"--epsilons", "2e-4,5e-4,1e-3,2e-3,5e-3,1e-2,2e-2"},
                                    {"--direction", "gaussian"},
                                    {"--seed", "0"},
                                    {"--compute", "all"},
                                    {"--json", ""}})});
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "slope_bench: %s\n", e.what());
    return 1;
  }
}
