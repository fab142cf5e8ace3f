// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iostream>
#include <zoq/exec/serial.hpp>
#include <zoq/io/atomic_file.hpp>
#include <zoq/io/mapped_file.hpp>
#include <zoq/io/mask_file.hpp>
#include <zoq/model/target.hpp>
#include <zoq/train/step.hpp>
#include <zoq/train/trajectory.hpp>
#include <zoq/view/values_file.hpp>

#include "command.hpp"
#include "describe_run.hpp"
#include "option_checks.hpp"
#include "progress.hpp"
#include "settings.hpp"

namespace zoq::cli {

namespace {

/// The values that a run began with.
zoq::tuned_values values_at_start(const std::string& run, const nlohmann::json& settings,
                                  const std::string& source) {
  const std::string start = run + "/start.safetensors";
  if (settings.contains("first_values")) {
    require_first_values(start, settings, source);
  }
  if (exists_at(start)) {
    return read_values(start);
  }
  zoq::tuned_values out = read_values(run + "/delta.safetensors");  // for its shapes
  for (named_values& one : out.blocks) {
    std::fill(one.values.begin(), one.values.end(), 0.0f);
  }
  if (exists_at(run + "/mask.safetensors")) {
    const mask places = read_mask(run + "/mask.safetensors");
    require(places.hash() == setting<std::string>(settings, "mask", source), run,
            "/mask.safetensors is not the mask of this trajectory");
  }
  return out;
}

/// True when the values have other numbers than their places among the tuned ones.
bool needs_model(zoq::tuned_values& values, const nlohmann::json& settings,
                 const std::string& source) {
  values.how = policy_from<any_view>(settings, "view", source);
  values.selection = select(setting<std::string>(settings, "layers", source),
                            setting<std::string>(settings, "exclude", source));
  const auto* sparse = std::get_if<sparse_settings>(&values.how);
  return !values.selection.every_layer() || !values.selection.exclude.empty() ||
         (sparse != nullptr && sparse->by_place);
}

}  // namespace

int replay(CLI::App& app, const std::function<void()>& parse) {
  std::string run, out, model;
  bool json = false;
  app.add_option("--run", run, "The folder of a run")->required()->check(not_empty());
  app.add_option("--out", out, "The values to write, a safetensors file")
      ->required()
      ->check(not_empty());
  app.add_option(
      "--model", model,
      "The model, where the run tuned some layers alone: numbers of values come from it");
  app.add_flag("--json", json, "Print one line of JSON");
  parse();

  require_replaceable(out, ".safetensors");
  require_no_input(out, {run, model});
  const std::string source = run + "/trajectory.jsonl";
  const trajectory record = read_trajectory(source);
  zoq::tuned_values values = values_at_start(run, record.settings, source);

  const serial exec;
  value_blocks blocks;
  for (const named_values& one : values.blocks) {
    blocks.add(one.name, one.rows, one.columns);
  }
  value_order order = blocks.order();
  std::vector<float> all;
  for (const named_values& one : values.blocks) {
    all.insert(all.end(), one.values.begin(), one.values.end());
  }
  std::vector<index_t> numbers;
  if (needs_model(values, record.settings, source)) {
    require(!model.empty(), run,
            ": some of the tensors were tuned; --model says which numbers they have");
    const opened_model m(model);
    require(values.model_hash == m.model.hash(), model, ": not the model of this run");
    view_target target = target_of(m.model);
    target.selection = values.selection;
    target.tokens = values.tokens;
    const mask whole =
        values.places.tensors.empty() ? mask{} : read_mask(run + "/mask.safetensors");
    target.places = &whole;
    numbers = layout_of(exec, values.how, target).blocks().numbers();
    order.key = numbers.empty() ? nullptr : numbers.data();
  }
  // Errors of the steps are of what the record says.
  auto steps = from_source(source, [&] {
    return stepper(exec, order, estimator_from(record.settings, source),
                   optimizer_from(record.settings, source), recipe_from(record.settings, source));
  });
  progress bar("replay", static_cast<index_t>(record.losses.size()));
  from_source(source, [&] {
    for (const auto& recorded : record.losses) {
      steps.replay(all.data(), recorded);
      bar.show(static_cast<index_t>(steps.next()));
    }
  });
  bar.finish();
  auto from = all.begin();
  for (named_values& one : values.blocks) {
    const auto n = static_cast<std::ptrdiff_t>(one.values.size());
    one.values.assign(from, from + n);
    from += n;
  }
  write_values(out, values, {{"steps", std::to_string(steps.next())}});
  if (json) {
    print_json({{"delta", out}, {"steps", steps.next()}, {"trainable", order.size}});
  } else {
    std::cout << out << ": " << with_commas(order.size) << " values after " << steps.next()
              << " steps\n";
  }
  return 0;
}

}  // namespace zoq::cli
