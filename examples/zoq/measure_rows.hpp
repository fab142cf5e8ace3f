// Loss and accuracy of rows during a run, with a bar and a line for people.
//
//     measured_rows how{options, std::cout};
//     std::optional<evaluation> before = how(tuner, test, "before");
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <vector>
#include <zoq/data/example.hpp>
#include <zoq/train/evaluate.hpp>

#include "command.hpp"
#include "finetune_options.hpp"
#include "interrupt.hpp"
#include "progress.hpp"

namespace zoq::cli {

struct measured_rows {
  const finetune_options& options;
  std::ostream& people;

  /// Which rows are measured: the first ones of a file.
  [[nodiscard]] std::span<const example> of(const task_rows& task) const {
    const auto most =
        options.eval_rows > 0 ? static_cast<std::size_t>(options.eval_rows) : task.rows.size();
    return {task.rows.data(), std::min(task.rows.size(), most)};
  }

  /// At the present values of the trainer's view; nothing when there are no rows. Throws `stopped` when
  /// a signal comes.
  template <class Trainer>
  std::optional<evaluation> operator()(Trainer& tuner, const task_rows& task,
                                       const std::string& what) const {
    if (task.rows.empty()) {
      return {};
    }
    const auto rows = of(task);
    progress bar(what, static_cast<index_t>(rows.size()));
    const auto tell = [&](const evaluation& so_far) {
      bar.show(so_far.rows, figures_of(so_far));
      return interrupt::signal() == 0;
    };
    const evaluation e = [&] {
      try {
        return tuner.measure(rows, tell);
      } catch (const error& cause) {
        fail(what, ": ", cause.what());
      }
    }();
    bar.finish();
    interrupt::check("stopped; --resume goes on");
    std::string line = text(what, ": loss ", e.branch[0].mean());
    if (task.objective.chooses()) {
      line += text(", accuracy ", percent(e.accuracy()),
                   " (the most frequent answer: ", percent(majority_share(rows)), ")");
    }
    people << line << std::endl;
    return e;
  }
};

}  // namespace zoq::cli
