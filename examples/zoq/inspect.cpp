// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <iostream>
#include <limits>
#include <map>
#include <numeric>
#include <zoq/io/mapped_file.hpp>

#include "command.hpp"
#include "jobs.hpp"
#include "on_device.hpp"
#include "option_checks.hpp"

namespace zoq::cli {

namespace {

std::vector<token_t> best_of(const std::vector<float>& logits, index_t n) {
  std::vector<token_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto last = order.begin() + std::min<index_t>(n, static_cast<index_t>(order.size()));
  const auto logit =
      [&](token_t id) {  // NaN, of weights that are none, comes last: sorting needs an order
        const float x = logits[static_cast<std::size_t>(id)];
        return std::isnan(x) ? -std::numeric_limits<float>::infinity() : x;
      };
  std::partial_sort(order.begin(), last, order.end(), [&](token_t a, token_t b) {
    return logit(a) != logit(b) ? logit(a) > logit(b) : a < b;
  });
  order.erase(last, order.end());
  return order;
}

struct format_sum {
  index_t tensors = 0, weights = 0, bytes = 0;
};

std::map<std::string, format_sum> formats_of(const llama& model) {
  std::map<std::string, format_sum> out;
  for (const model_tensor& t : model.tensors()) {
    format_sum& sum = out[std::string(t.weight.format().name)];
    ++sum.tensors;
    sum.weights += t.weight.rows() * t.weight.columns();
    sum.bytes += t.weight.byte_count();
  }
  return out;
}

nlohmann::json shape_json(const llama& model) {
  const llama_config& c = model.config();
  nlohmann::json formats = nlohmann::json::object();
  index_t weights = 0;
  for (const auto& [name, sum] : formats_of(model)) {
    formats[name] = {{"tensors", sum.tensors}, {"weights", sum.weights}, {"bytes", sum.bytes}};
    weights += sum.weights;
  }
  return {{"architecture", c.family},
          {"layers", c.layers},
          {"hidden", c.hidden},
          {"heads", c.heads},
          {"kv_heads", c.kv_heads},
          {"head_size", c.head_size},
          {"feed_forward", c.feed_forward},
          {"vocabulary", c.vocabulary},
          {"context", c.context},
          {"rope_base", c.rope_base},
          {"norm_epsilon", c.norm_epsilon},
          {"tied_head", model.tied()},
          {"weights", weights},
          {"linear_weights", linear_weights(model.tensors())},
          {"bytes", model.byte_count()},
          {"formats", formats},
          {"hash", model.hash()}};
}

void print_shape(const llama& model) {
  const llama_config& c = model.config();
  std::cout << c.family << ": " << c.layers << " layers of " << c.hidden << ", " << c.heads
            << " heads of " << c.head_size << " sharing " << c.kv_heads << ", feed-forward "
            << c.feed_forward << ", vocabulary " << with_commas(c.vocabulary) << ", context "
            << with_commas(c.context) << ", head " << (model.tied() ? "tied" : "of its own")
            << "\n";
  for (const auto& [name, sum] : formats_of(model)) {
    std::cout << "  " << name << ": " << sum.tensors << " tensors, " << with_commas(sum.weights)
              << " weights, " << in_megabytes(sum.bytes) << "\n";
  }
  std::cout << "  linear layers: " << with_commas(linear_weights(model.tensors()))
            << " weights; model hash " << model.hash() << "\n";
}

}  // namespace

int inspect(CLI::App& app, const std::function<void()>& parse) {
  model_options options;
  std::string text, file, delta_file;
  index_t top = 10;
  options.add_to(app);
  auto* given = app.add_option("--text", text, "A text to tokenise and score");
  app.add_option("--text-file", file, "The same, from a file")->excludes(given);
  app.add_option("--delta", delta_file, "Tuned values to put on the model for the text");
  app.add_option("--top", top, "Likeliest next tokens to list")
      ->check(whole_number(0, std::uint64_t{1} << 31))
      ->capture_default_str();
  parse();
  options.validate();

  const opened_model m(options.model);
  std::vector<token_t> tokens;
  std::optional<score_job::result> scored;
  if (!file.empty() || given->count() != 0) {
    tokens = file.empty() ? m.words.encode(text, options.mode())
                          : read_text(file, m.words, options.mode());
    const std::string source = file.empty() ? "--text" : file;
    const index_t context = m.model.config().context;
    require(!tokens.empty(), source, " has no tokens");
    require(static_cast<index_t>(tokens.size()) <= context, source, " has ", tokens.size(),
            " tokens, the model's context is ", context);
    scored = on_device(options, score_job{m, values_for(m, delta_file), tokens, delta_file});
  }
  const auto best = scored.has_value() ? best_of(scored->logits, top) : std::vector<token_t>{};

  if (options.json) {
    nlohmann::json line = {{"model", shape_json(m.model)}};
    if (scored.has_value()) {
      line["tokens"] = tokens;
      line["loss"] = or_null(scored->loss);
      line["top"] = nlohmann::json::array();
      for (const token_t id : best) {
        line["top"].push_back({{"id", id},
                               {"piece", m.words.piece(id)},
                               {"logit", scored->logits[static_cast<std::size_t>(id)]}});
      }
    }
    print_json(line);
    return 0;
  }
  print_shape(m.model);
  if (scored.has_value()) {
    std::cout << tokens.size() << " tokens:";
    for (const token_t id : tokens) {
      std::cout << ' ' << id;
    }
    std::cout << "\n";
    if (scored->loss.has_value()) {
      std::cout << "mean next-token loss " << *scored->loss << "\n";
    }
    for (const token_t id : best) {
      std::cout << "  " << id << "  " << scored->logits[static_cast<std::size_t>(id)] << "  "
                << nlohmann::json(m.words.piece(id))
                       .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
                << "\n";
    }
  }
  return 0;
}

}  // namespace zoq::cli
