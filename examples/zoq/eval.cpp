// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <zoq/io/mapped_file.hpp>

#include "command.hpp"
#include "interrupt.hpp"
#include "jobs.hpp"
#include "on_device.hpp"
#include "option_checks.hpp"
#include "progress.hpp"

namespace zoq::cli {

int eval(CLI::App& app, const std::function<void()>& parse) {
  model_options common;
  std::string data, delta_file;
  objective_options objective;
  index_t batch_size = 64;
  common.add_to(app);
  app.add_option("--data", data, "Rows, a file of JSON lines or a folder with test.jsonl")
      ->required()
      ->check(not_empty());
  app.add_option("--delta", delta_file, "Tuned values to put on the model");
  app.add_option("--batch-size", batch_size, "Rows that go through the model together")
      ->check(whole_number(1))
      ->capture_default_str();
  objective.add_to(app);
  parse();
  common.validate();

  const interrupt asked;
  const opened_model m(common.model);
  if (is_folder_at(data)) {
    data += "/test.jsonl";
  }
  task_rows task = read_task(data, m, common.mode(), objective);
  const zoq::tuned_values values = values_for(m, delta_file);
  progress bar("eval", static_cast<index_t>(task.rows.size()));
  const auto tell = [&](const evaluation& so_far) {
    bar.show(so_far.rows, figures_of(so_far));
    return interrupt::signal() == 0;
  };
  const evaluation sum = on_device(
      common, eval_job{m, values, task.objective, task.rows, data, batch_size, tell, delta_file});
  bar.finish();
  interrupt::check("stopped");

  const bool chooses = task.objective.chooses();
  const double majority = majority_share(task.rows);
  if (common.json) {
    print_json({{"accuracy", chooses ? nlohmann::json(sum.accuracy()) : nullptr},
                {"loss", sum.branch[0].mean()},
                {"majority", chooses ? nlohmann::json(majority) : nullptr},
                {"rows", sum.rows},
                {"forward_tokens", sum.tokens},
                {"seconds", sum.seconds},
                {"tokens_per_second", sum.tokens_per_second()},
                {"peak_rss_bytes", peak_rss_bytes()}});
    return 0;
  }
  std::cout << sum.rows << " rows: loss " << sum.branch[0].mean();
  if (chooses) {
    std::cout << ", accuracy " << percent(sum.accuracy())
              << " (the most frequent answer: " << percent(majority) << ")";
  }
  std::cout << "; " << static_cast<index_t>(sum.tokens_per_second()) << " tokens/s, peak memory "
            << in_megabytes(peak_rss_bytes()) << "\n";
  return 0;
}

}  // namespace zoq::cli
