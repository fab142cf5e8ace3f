// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <optional>
#include <thread>
#include <zoq/estimate/estimators.hpp>
#include <zoq/estimate/rounds.hpp>
#include <zoq/io/open_model_file.hpp>
#include <zoq/model/llama.hpp>
#include <zoq/model/llama_memory.hpp>
#include <zoq/model/llama_shapes.hpp>
#include <zoq/train/plan.hpp>

#include "command.hpp"
#include "option_checks.hpp"

namespace zoq::cli {

namespace {

std::vector<std::string> format_names() {
  std::vector<std::string> out;
  formats::for_each([&]<class S>(S) { out.emplace_back(S::name); });
  return out;
}

struct plan_options {
  std::string model, shape, format, rest, view = "sparse", budget, device = "cpu",
                                          estimator = "spsa:probes=3", epsilon = "auto",
                                          compute = "auto", kernels = "auto";
  int threads = 0;
  std::optional<int> probes;
  plan_request how;
  bool json = false;

  void add_to(CLI::App& app) {
    std::vector<std::string> shapes;
    for (const llama_shape& s : llama_shapes) {
      shapes.emplace_back(s.name);
    }
    const auto positive = [&](const char* name, index_t& to, const char* what) {
      app.add_option(name, to, what)->check(whole_number(1))->capture_default_str();
    };
    auto* file = app.add_option("--model", model, "The model, a GGUF file");
    app.add_option("--shape", shape, "Instead of a model: the sizes of a well-known one")
        ->check(CLI::IsMember(shapes))
        ->excludes(file);
    app.add_option("--format", format,
                   "Of the linear layers' matrices (default: as in the file; q4_1 of a shape)")
        ->check(CLI::IsMember(format_names()));
    app.add_option("--embedding-format", rest,
                   "Of embedding and head, of a shape only (default: q8_0)")
        ->check(CLI::IsMember(format_names()))
        ->excludes(file);
    app.add_option("--view", view, "What is tuned")
        ->check(CLI::IsMember({"sparse"}))
        ->capture_default_str();
    app.add_option("--density", how.density, "Share of the weights of linear layers that is tuned")
        ->check(real_number(0, 1))
        ->capture_default_str();
    positive("--batch-size", how.batch_size, "Rows of each step");
    positive("--length", how.length, "Tokens of a row, with all its options: the mean");
    app.add_option("--longest", how.longest, "Tokens of the longest row; 0: all rows have --length")
        ->check(whole_number(0))
        ->capture_default_str();
    positive("--options", how.options, "Texts that may follow a prompt");
    positive("--option-tokens", how.option_tokens, "Tokens of each of them");
    add_estimator_options(app, estimator, probes);
    app.add_option("--epsilon", epsilon, "Length of a probe; auto is measured, in more branches")
        ->capture_default_str();
    app.add_option("--eval-rows", how.measured_rows, "Rows measured between steps; 0: none")
        ->check(whole_number(0))
        ->capture_default_str();
    app.add_option("--rows", how.data_rows, "Rows of all data files")
        ->check(whole_number(0))
        ->capture_default_str();
    app.add_option("--device", device, "Where the run will be: whose memory is planned")
        ->check(CLI::IsMember({"cpu", "cuda"}))
        ->capture_default_str();
    add_executor_options(app, compute, kernels, threads);
    app.add_option("--budget", budget, "Refuse what needs more bytes: 268435456, 256MiB, 5GB");
    app.add_flag("--json", json, "Print one line of JSON at the end of standard output");
  }

  void validate() {
    require_option(!model.empty() || !shape.empty(), "--model", "a model or a --shape is needed");
    require_option(how.density > 0, "--density",
                   text("wanted a number above 0 and at most 1, found ", how.density));
    how.measures_epsilon = !epsilon_given(epsilon, estimator).has_value();
    how.estimator = any_estimator(estimator_option(estimator, probes));
    model_options{model, device, compute, kernels, threads}.validate();
    if (device == "cuda") {
      how.device = workspace_limits{};  // of `cuda`
    }
    how.kernels = kernels_named(kernels);
    const bool pairs = asks_for_pairs(how.estimator);
    how.products = how.device.has_value() ? device_products_named(compute, pairs)
                                          : products_named(compute, kernels, pairs);
    how.threads =
        threads != 0 ? threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }
};

format_info format_named(const std::string& name) { return *find_format(std::string_view(name)); }

/// Sizes and stored bytes of the model that is planned for.
struct planned_model {
  std::string name;
  llama_config config;
  llama_weights weights;
};

planned_model from_shape(plan_options& o) {
  const llama_shape s = llama_shape_named(o.shape);
  const weight_formats in = {format_named(o.format.empty() ? "q4_1" : o.format),
                             format_named(o.rest.empty() ? "q8_0" : o.rest), s.tied};
  o.how.tokens = o.how.merges = s.config.vocabulary;
  o.how.metadata_bytes = s.config.vocabulary * 40;  // texts, kinds and merges of a vocabulary
  return {std::string(s.model), s.config, weights_of(s.config, in)};
}

planned_model from_file(plan_options& o) {
  const model_file file = open_model_file(o.model);
  const llama model = llama::from(file);
  for (const gguf_value& v : file.metadata()) {
    o.how.metadata_bytes += static_cast<index_t>(v.key.size() + v.bytes.size());
    o.how.tokens = v.key == "tokenizer.ggml.tokens" ? static_cast<index_t>(v.count) : o.how.tokens;
    o.how.merges = v.key == "tokenizer.ggml.merges" ? static_cast<index_t>(v.count) : o.how.merges;
  }
  std::optional<format_info> linear;
  if (!o.format.empty()) {
    linear = format_named(o.format);
  }
  try {
    return {o.model, model.config(), weights_of(model.tensors(), linear)};
  } catch (const error& e) {
    fail(o.model, ": ", e.what());
  }
}

void print_parts(const planned_model& m, const memory_plan& p, const std::string& device) {
  std::cout << m.name << ": " << with_commas(m.config.linear_weights())
            << " weights in linear layers, " << with_commas(p.trainable) << " tuned; passes of "
            << p.branches << " branches, " << with_commas(p.rows) << " rows, on " << device << "\n";
  for (const memory_part& part : p.parts) {
    char line[160];
    std::snprintf(line, sizeof line, "  %-20s %12s   %s\n", part.name.c_str(),
                  in_megabytes(part.bytes).c_str(), part.what.c_str());
    std::cout << line;
  }
}

nlohmann::json json_of(const planned_model& m, const memory_plan& p, const std::string& device) {
  nlohmann::json parts = nlohmann::json::object();
  for (const memory_part& part : p.parts) {
    std::string key = part.name;
    std::replace(key.begin(), key.end(), ' ', '_');
    parts[key] = part.bytes;
  }
  return {{"model", m.name},
          {"device", device},
          {"linear_weights", m.config.linear_weights()},
          {"trainable", p.trainable},
          {"branches", p.branches},
          {"rows", p.rows},
          {"parts", parts},
          {"total", p.total()},
          {"budget", nullptr},
          {"fits", nullptr}};
}

}  // namespace

int plan(CLI::App& app, const std::function<void()>& parse) {
  plan_options o;
  // This program's code and libraries, and 3 MiB more of them that only a run touches (measured: 2 to 4,
  // as systems differ in how much of a file they map at a touch); rounded up to whole ones.
  constexpr index_t step = 1 << 20;
  const index_t program = (peak_rss_bytes() + step - 1) / step * step;
  o.how.program_bytes = program > 0 ? program + 3 * step : o.how.program_bytes;
  o.add_to(app);
  parse();
  o.validate();
  std::optional<index_t> budget;
  if (!o.budget.empty()) {
    budget = bytes_option("--budget", o.budget);
  }
  const planned_model m = o.shape.empty() ? from_file(o) : from_shape(o);
  const memory_plan made = plan_tuning(m.config, m.weights, o.how);
  const bool fits = !budget.has_value() || made.total() <= *budget;
  if (o.json) {
    nlohmann::json line = json_of(m, made, o.device);
    if (budget.has_value()) {
      line["budget"] = *budget;
      line["fits"] = fits;
    }
    print_json(line);
  } else if (fits) {
    print_parts(m, made, o.device);
    std::cout << "total " << in_megabytes(made.total())
              << (o.how.device.has_value() ? " of the device, beside its driver's own" : "");
    if (budget.has_value()) {
      std::cout << ", fits into " << in_megabytes(*budget);
    }
    std::cout << "\n";
  }
  if (!fits) {
    require_fits(made, *budget);
  }
  return 0;
}

}  // namespace zoq::cli
