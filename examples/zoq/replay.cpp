// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <zoq/exec/serial.hpp>
#include <zoq/io/mask_file.hpp>
#include <zoq/train/record.hpp>
#include <zoq/train/step.hpp>
#include <zoq/view/delta.hpp>
#include <zoq/view/sparse.hpp>

#include "command.hpp"
#include "progress.hpp"
#include "settings.hpp"

namespace zoq::cli {

int replay(CLI::App& app, const std::function<void()>& parse) {
  std::string run, out;
  bool json = false;
  app.add_option("--run", run, "The folder of a run")->required();
  app.add_option("--out", out, "The delta to write, a safetensors file")->required();
  app.add_flag("--json", json, "Print one line of JSON");
  parse();

  const std::string source = run + "/trajectory.jsonl";
  const trajectory record = read_trajectory(source);
  const mask places = read_mask(run + "/mask.safetensors");
  require(places.hash() == setting<std::string>(record.settings, "mask", source), run,
          "/mask.safetensors is not the mask of this trajectory");

  const serial exec;
  const std::vector<extent> extents = extents_of(places);
  const value_order order{extents.data(), static_cast<index_t>(extents.size()), places.count()};
  delta d{places, std::vector<float>(static_cast<std::size_t>(places.count()))};
  stepper steps(exec, order, estimator_from(record.settings, source),
                optimizer_from(record.settings, source), recipe_from(record.settings, source));
  progress bar("replay", static_cast<index_t>(record.losses.size()));
  for (const auto& recorded : record.losses) {
    steps.replay(d.values.data(), recorded);
    bar.show(static_cast<index_t>(steps.next()));
  }
  bar.finish();
  write_delta(out, d, {{"steps", std::to_string(steps.next())}});
  if (json) {
    print_json({{"delta", out}, {"steps", steps.next()}, {"trainable", places.count()}});
  } else {
    std::cout << out << ": " << with_commas(places.count()) << " values after " << steps.next()
              << " steps\n";
  }
  return 0;
}

}  // namespace zoq::cli
