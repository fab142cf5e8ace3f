// What the subcommands share: options, strict parsing, exit codes, and figures for people.
//
// Exit codes: 0 done, 1 failed (one line on standard error says why), 2 wrong usage, 3 a tuning that
// diverged, 128 + n stopped by signal n after saving.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>
#include <zoq/data/encode.hpp>
#include <zoq/estimate/estimators.hpp>
#include <zoq/exec/compute.hpp>
#include <zoq/exec/instruction_set.hpp>
#include <zoq/io/tokenizer.hpp>
#include <zoq/model/finite.hpp>
#include <zoq/model/llama.hpp>
#include <zoq/objective/objectives.hpp>
#include <zoq/tensor/memory_part.hpp>
#include <zoq/train/evaluate.hpp>
#include <zoq/view/values_file.hpp>

namespace zoq::cli {

inline constexpr int exit_diverged = 3;

int finetune(CLI::App& app, const std::function<void()>& parse);
int make_mask(CLI::App& app, const std::function<void()>& parse);
int eval(CLI::App& app, const std::function<void()>& parse);
int inspect(CLI::App& app, const std::function<void()>& parse);
int generate(CLI::App& app, const std::function<void()>& parse);
int quantize(CLI::App& app, const std::function<void()>& parse);
int plan(CLI::App& app, const std::function<void()>& parse);
int export_model(CLI::App& app, const std::function<void()>& parse);
int replay(CLI::App& app, const std::function<void()>& parse);
int report(CLI::App& app, const std::function<void()>& parse);
int policies(CLI::App& app, const std::function<void()>& parse);

/// --compute, --kernels and --threads, and what the first two choose for an estimator that asks for
/// pairs of opposite points, or not.
void add_executor_options(CLI::App& app, std::string& compute, std::string& kernels, int& threads);
instruction_set kernels_named(const std::string& name);
zoq::compute products_named(const std::string& compute, const std::string& kernels, bool pairs);
/// The same for a device, where auto is bf16 for pairs.
zoq::compute device_products_named(const std::string& compute, bool pairs);

/// --estimator, a text of core/settings.hpp, and --probes; and the estimator that they name. Wrong usage
/// when there is none.
void add_estimator_options(CLI::App& app, std::string& estimator, std::optional<int>& probes);
any_estimator::list estimator_option(const std::string& estimator, std::optional<int> probes);

/// What `make` returns; what it throws as an error becomes wrong usage of the option.
template <class Make>
auto from_option(const char* option, const Make& make) {
  try {
    return make();
  } catch (const error& e) {
    throw CLI::ValidationError(option, e.what());
  }
}

/// What `make` returns; the message of an error begins with the name of the file, or of the option with its text.
template <class Make>
auto from_source(const std::string& source, const Make& make) {
  try {
    return make();
  } catch (const error& e) {
    if (source.empty() || std::string_view(e.what()).starts_with(source)) {
      throw;
    }
    fail(source, ": ", e.what());
  }
}

/// What --epsilon or the text of --estimator says: a length, or nothing for "auto". Wrong usage when it is
/// no positive number up to 1e30, and when both say one.
std::optional<double> epsilon_given(const std::string& epsilon, const std::string& estimator);

/// "268435456", "256MiB", "5GiB", "200 MB", "1.5GB": a number, then B or k, M, G, T with B or iB. Wrong usage
/// of the option when it is none.
index_t bytes_option(const char* option, const std::string& given);

/// Options of every command that runs a model; on_device.hpp makes the executor.
struct model_options {
  std::string model;
  std::string device = "cpu";
  std::string compute = "f32";
  std::string kernels = "auto";
  int threads = 0;
  bool special_tokens = false;
  bool json = false;
  bool pairs = true;  // what the estimator asks for, if there is one: --compute auto depends on it

  void add_to(CLI::App& app);
  /// The same in float, for scores: a mask must not depend on how the tuning computes.
  [[nodiscard]] model_options in_float() const;
  /// Wrong usage where an option does not go with the device.
  void validate() const;
  [[nodiscard]] special mode() const { return special_tokens ? special::parsed : special::plain; }
};

/// A model and its tokenizer, from one file or folder.
struct opened_model {
  std::string path;
  llama model;
  tokenizer words;
  explicit opened_model(const std::string& name);
  explicit opened_model(const model_file& file);

  /// Throws, naming file and place, on a weight that is NaN or infinite. Decodes all weights once.
  template <executor X>
  void require_finite_weights(const X& exec) const {
    require_finite(exec, model.tensors(), path);
  }

  /// Leaves the logits of tokens that there are: embeddings may have rows for more, to be of round sizes. Throws,
  /// naming the file and a weight that is the cause, when one is NaN or infinite.
  template <executor X>
  void check_logits(const X& exec, std::vector<float>& logits) const {
    logits.resize(std::min(logits.size(), static_cast<std::size_t>(words.size())));
    const auto bad =
        std::find_if(logits.begin(), logits.end(), [](float l) { return !std::isfinite(l); });
    if (bad != logits.end()) {
      require_finite_weights(exec);
      fail(path, ": the logit of token ", bad - logits.begin(), " is ", *bad,
           ": weights or tuned values are too large");
    }
  }
};

/// Rows as tokens, and their objective.
struct task_rows {
  std::vector<example> rows;
  any_objective objective;
};
/// --objective and --score-choices.
struct objective_options {
  std::string objective;  // a text of core/settings.hpp; empty: what suits the rows
  std::string choice_score = "mean";
  void add_to(CLI::App& app);
  /// Throws on an unknown name, and when rows of this kind do not suit it.
  [[nodiscard]] any_objective named(row_kind kind) const;
};
/// The rows of a file, JSON lines.
task_rows read_task(const std::string& path, const opened_model& m, special mode,
                    const objective_options& how = {});

/// The tuned values in a file, for this model; of a sparse view without places for no file. Throws when
/// they are another model's.
zoq::tuned_values values_for(const opened_model& m, const std::string& path);

/// The tokens of a whole text file.
std::vector<token_t> read_text(const std::string& path, const tokenizer& words, special mode);

/// The largest resident memory of this process so far, in bytes.
index_t peak_rss_bytes();

/// Wrong usage (exit code 2) unless `right`: "--density: 2 is ...".
void require_option(bool right, const char* option, const std::string& message);

/// Throws where `path` is there and no file of this ending: what is made is not put over something else.
void require_replaceable(const std::string& path, std::string_view ending);

/// The same unless a text is UTF-8, for those that files of JSON tell.
void require_utf8(const char* option, const std::string& given);

/// "loss 0.53  812 tokens/s"
std::string figures_of(const evaluation& e);

std::string with_commas(index_t n);  // 106,020
std::string percent(double share);   // 53.1 %
nlohmann::json or_null(const std::optional<double>& value);

/// One line of JSON with its end, whatever bytes its strings hold.
std::string line_of(const nlohmann::json& line);
/// The same on standard output.
void print_json(const nlohmann::json& line);

}  // namespace zoq::cli
