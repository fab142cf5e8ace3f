// What makes a step fast without changing its result: each lever alone, the others on, and its gain.
//
//     lever_bench --model model.gguf [--data train.jsonl] [--rows 16] [--threads 2] [--compute bf16]
//                 [--kernels SET] [--density 0.001] [--probes 1] [--repeats 5] [--lever prompt]
//
// Rows: the first --rows of --data, or drawn ones with the lengths of movie reviews; all in one step.
// A line has the lever, milliseconds of a step with it off and on (medians), the gain (the median of
// the ratios of steps taken in turn), and the largest difference between the losses of the two. Levers
// that are exact must show 0 there, or the rounding of float where the order of sums differs. --lever:
// only lines that have this in their names. A lever is turned off here, by packing more or by other
// calls, not by options of the library.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "model/full_zo.hpp"
#include "model/setup.hpp"
#include "model/tuned.hpp"

namespace {

using zoq::index_t;

/// option_likelihood that packs a row with some of the levers off. The reads that it needs come first;
/// scores of further ones are not looked at.
struct switched_likelihood : zoq::option_likelihood {
  bool prompt_shared = true;  // off: every option goes with a prompt of its own
  bool answers_only = true;   // off: the logits of all rows
  index_t padded_to = 0;      // tokens of every sequence; 0: as they are

  void pack(const zoq::example& row, zoq::packing& batch) const {
    const std::size_t before = batch.segments.size();
    if (prompt_shared) {
      const index_t first = batch.rows();
      option_likelihood::pack(row, batch);
      pad(static_cast<index_t>(before), batch.rows() - first, batch);
    } else {
      for (const auto& option : row.continuations) {
        std::vector<zoq::token_t> text = row.prompt;
        text.insert(text.end(), option.begin(), option.end() - 1);
        const index_t at = batch.add(text);
        const auto prompt = static_cast<index_t>(row.prompt.size());
        for (std::size_t i = 0; i < option.size(); ++i) {
          batch.read(at, prompt - 1 + static_cast<index_t>(i), option[i]);
        }
        pad(at, static_cast<index_t>(text.size()), batch);
      }
    }
    if (!answers_only) {
      for (std::size_t s = before; s < batch.segments.size(); ++s) {
        for (index_t i = 0; i < batch.segments[s].count; ++i) {
          batch.read(static_cast<index_t>(s), i, 0);
        }
      }
    }
  }

  /// Tokens of the longest sequence of the rows, without padding.
  [[nodiscard]] index_t longest(const std::vector<zoq::example>& rows) const {
    index_t most = 0;
    for (const zoq::example& row : rows) {
      index_t all = static_cast<index_t>(row.prompt.size());
      for (const auto& option : row.continuations) {
        const auto tokens = static_cast<index_t>(option.size()) - 1;
        most = std::max(most, static_cast<index_t>(row.prompt.size()) + tokens);
        all += tokens;
      }
      most = std::max(most, prompt_shared ? all : 0);
    }
    return most;
  }

 private:
  // Padding goes on after a sequence: it sees all of it, and nothing sees the padding.
  void pad(index_t sequence, index_t tokens, zoq::packing& batch) const {
    if (tokens < padded_to) {
      batch.add(std::vector<zoq::token_t>(static_cast<std::size_t>(padded_to - tokens)), sequence);
    }
  }
};
static_assert(zoq::choosing_objective<switched_likelihood>);

class levers {
 public:
  levers(const zoq::bench::arguments& given, const zoq::llama& model)
      : given_(given),
        model_(model),
        how_(zoq::bench::cpu_of(given)),
        exec_(how_),
        rows_(zoq::bench::rows_of(given, model, given.number("--rows", 1))),
        mask_(zoq::bench::random_mask(model, given.real("--density"))),
        repeats_(given.number("--repeats", 1)),
        probes_(static_cast<int>(given.number("--probes", 1))) {}

  void run() {
    std::printf("%-52s %9s %9s %7s  %s\n", "lever", "off ms", "on ms", "gain", "losses differ by");
    with_packing("1 prompt shared by its options", [](auto& off) { off.prompt_shared = false; });
    with_packing("2 packed, not padded to the longest row",
                 [&](auto& off) { off.padded_to = off.longest(rows_); });
    with_packing("3 last layer and head only where an answer is read",
                 [](auto& off) { off.answers_only = false; });
    stacked();
    with_packing(
        "1 to 4 together", [&](auto& off) { turn_off(off); }, 1);
    policies();
    overlay();
    first_layers();
    published();
  }

 private:
  using stepping = zoq::bench::tuned<switched_likelihood>;

  [[nodiscard]] bool wanted(const std::string& name) const {
    return name.find(given_.text("--lever")) != std::string::npos;
  }

  void turn_off(switched_likelihood& off) const {
    off.prompt_shared = off.answers_only = false;
    off.padded_to = off.longest(rows_);
  }

  static void print(const std::string& name, const zoq::bench::paired& times,
                    const std::string& difference) {
    std::printf("%-52s %9.1f %9.1f %7.2f  %s\n", name.c_str(),
                1e3 * zoq::bench::median(times.first), 1e3 * zoq::bench::median(times.second),
                times.ratio(), difference.c_str());
    std::fflush(stdout);
  }

  void compare(const std::string& name, stepping& off, stepping& on) const {
    double most = 0;
    const auto times = zoq::bench::compare(
        repeats_, [&] { off.step(); },
        [&] {
          on.step();
          for (std::size_t b = 0; b < on.losses().size(); ++b) {
            most = std::max(most, std::fabs(on.losses()[b].loss - off.losses()[b].loss));
          }
        });
    char text[32];
    std::snprintf(text, sizeof text, most == 0 ? "0" : "%.1e", most);
    print(name, times, text);
  }

  // One lever or several of the packing; stacked_branches of the step that has them off.
  template <class TurnOff>
  void with_packing(const std::string& name, const TurnOff& turn_off, index_t stacked = 8) const {
    if (wanted(name)) {
      switched_likelihood without;
      turn_off(without);
      stepping off(exec_, model_, mask_, rows_, {probes_, stacked}, without);
      stepping on(exec_, model_, mask_, rows_, {probes_});
      compare(name, off, on);
    }
  }

  // All rows, and the first alone: what stacking saves is a decode of every weight for each branch.
  void stacked() const {
    for (const bool one : {false, true}) {
      for (const int probes : {1, 4}) {
        const std::string name = "4 branches stacked: " + std::to_string(2 * probes) + " of " +
                                 (one ? "one row" : "all rows");
        if (wanted(name)) {
          const std::vector<zoq::example> rows(rows_.begin(),
                                               one ? rows_.begin() + 1 : rows_.end());
          stepping off(exec_, model_, mask_, rows, {probes, 1});
          stepping on(exec_, model_, mask_, rows, {probes});
          compare(name, off, on);
        }
      }
    }
  }

  void policies() const {
    for (const zoq::compute products : zoq::all_computes) {
      const std::string name = "5 products: f32 to " + std::string(zoq::name_of(products));
      if (products != zoq::compute::f32 && wanted(name)) {
        zoq::cpu_options floats = how_, other = how_;
        floats.products = zoq::compute::f32;
        other.products = products;
        const zoq::cpu slow(floats), fast(other);
        stepping off(slow, model_, mask_, rows_, {probes_});
        stepping on(fast, model_, mask_, rows_, {probes_});
        compare(name, off, on);
      }
    }
  }

  // Both on weights in f32, one branch after another; only the perturbation differs.
  void overlay() const {
    const std::string name = "6 k values beside the base, no pass over all weights";
    if (wanted(name)) {
      zoq::bench::full_zo full(exec_, model_);
      stepping on(exec_, full.model(), mask_, rows_, {1, 1});
      print(name,
            zoq::bench::compare(
                repeats_, [&] { full.step(rows_, zoq::rademacher{}); }, [&] { on.step(); }),
            "-");
    }
  }

  // The same mask, with one more place in the first layer when the lever is off.
  void first_layers() const {
    const index_t layers = model_.config().layers;
    for (const index_t first : {index_t{0}, layers / 2, layers * 5 / 6}) {
      const std::string name =
          "7 layers below the first tuned one shared: " + std::to_string(first);
      if (wanted(name)) {
        const zoq::mask upper = zoq::bench::random_mask(model_, given_.real("--density"), first);
        zoq::mask with_first = upper;
        if (first > 0) {
          const zoq::model_tensor& t = model_.tensor(model_.layer(0).query);
          with_first.tensors.push_back({t.name, t.weight.rows(), t.weight.columns(), {0}});
        }
        stepping off(exec_, model_, with_first, rows_, {probes_});
        stepping on(exec_, model_, upper, rows_, {probes_});
        print(name,
              zoq::bench::compare(
                  repeats_, [&] { off.step(); }, [&] { on.step(); }),
              "-");
      }
    }
  }

  // MeZO as published, on this library's forward pass, against this step.
  void published() const {
    const std::string name = "all, against full tuning in f32 as published";
    if (wanted(name)) {
      zoq::cpu_options floats = how_;
      floats.products = zoq::compute::f32;
      const zoq::cpu slow(floats);
      zoq::bench::full_zo full(slow, model_);
      switched_likelihood without;
      turn_off(without);
      stepping on(exec_, model_, mask_, rows_, {1});
      print(
          name,
          zoq::bench::compare(
              repeats_, [&] { full.step(rows_, zoq::rademacher{}, without); }, [&] { on.step(); }),
          "-");
    }
  }

  const zoq::bench::arguments& given_;
  const zoq::llama& model_;
  zoq::cpu_options how_;
  zoq::cpu exec_;
  std::vector<zoq::example> rows_;
  zoq::mask mask_;
  index_t repeats_;
  int probes_;
};

}  // namespace

int main(int argc, char** argv) {
  try {
    const zoq::bench::arguments given("lever_bench", argc, argv,
                                      zoq::bench::model_options({{"--data", ""},
                                                                 {"--compute", "bf16"},
                                                                 {"--rows", "16"},
                                                                 {"--probes", "1"},
                                                                 {"--density", "0.001"},
                                                                 {"--repeats", "5"},
                                                                 {"--lever", ""}}));
    const zoq::llama model = zoq::bench::model_of(given);
    std::printf("%s\n", zoq::bench::about(given, model).c_str());
    levers(given, model).run();
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "lever_bench: %s\n", e.what());
    return 1;
  }
}
