// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <iostream>
#include <limits>
#include <numeric>
#include <zoq/random/philox.hpp>
#include <zoq/random/seeds.hpp>

#include "command.hpp"
#include "interrupt.hpp"
#include "jobs.hpp"
#include "on_device.hpp"
#include "option_checks.hpp"

namespace zoq::cli {

namespace {

struct sampling {
  double temperature = 0;  // 0: the likeliest token
  index_t top_k = 0;       // 0: no limit
  double top_p = 1;
  seed_t seed = 0;
};

/// The next token: the likeliest, or one drawn by softmax(logits / temperature) among the `top_k`
/// likeliest and, of these, the fewest that hold a share of `top_p`. Draw `number` of the seed.
token_t choose(const std::vector<float>& logits, const sampling& how, std::uint64_t number) {
  std::vector<token_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto logit = [&](token_t id) { return logits[static_cast<std::size_t>(id)]; };
  const auto better = [&](token_t a, token_t b) {
    return logit(a) != logit(b) ? logit(a) > logit(b) : a < b;
  };
  if (how.temperature == 0) {
    return *std::min_element(order.begin(), order.end(), better);
  }
  std::sort(order.begin(), order.end(), better);
  if (how.top_k > 0 && how.top_k < static_cast<index_t>(order.size())) {
    order.resize(static_cast<std::size_t>(how.top_k));
  }
  std::vector<double> chance;
  double total = 0;
  for (const token_t id : order) {
    chance.push_back(std::exp(
        (static_cast<double>(logit(id)) - static_cast<double>(logit(order[0]))) / how.temperature));
    total += chance.back();
  }
  double kept = 0;
  std::size_t count = 0;
  while (count < order.size() && kept < how.top_p * total) {
    kept += chance[count++];
  }
  count = std::max<std::size_t>(count, 1);
  const words4 w = philox(derive_seed(how.seed, purpose::sampling, number), 0);
  double point = (static_cast<double>(w.at[0]) + 0.5) * 0x1p-32 * kept;
  for (std::size_t i = 0; i + 1 < count; ++i) {
    point -= chance[i];
    if (point < 0) {
      return order[i];
    }
  }
  return order[count - 1];
}

}  // namespace

int generate(CLI::App& app, const std::function<void()>& parse) {
  model_options common;
  sampling how;
  std::string prompt, delta_file;
  index_t most = 64;
  common.add_to(app);
  app.add_option("--prompt", prompt, "The text to go on with")->required();
  app.add_option("--delta", delta_file, "Tuned values to put on the model");
  app.add_option("--tokens", most, "Tokens to make at most; fewer when the model ends its text")
      ->check(whole_number(1))
      ->capture_default_str();
  app.add_option("--temperature", how.temperature, "0: always the likeliest token")
      ->check(real_number(0, 100))
      ->capture_default_str();
  app.add_option("--top-k", how.top_k, "Draw among so many of the likeliest; 0: all")
      ->check(whole_number(0))
      ->capture_default_str();
  app.add_option("--top-p", how.top_p, "Draw among the fewest that hold this share")
      ->check(real_number(0, 1))
      ->capture_default_str();
  app.add_option("--seed", how.seed, "Fixes what is drawn")
      ->check(whole_number(0, std::numeric_limits<seed_t>::max()))
      ->capture_default_str();
  parse();
  common.validate();

  const interrupt asked;
  const opened_model m(common.model);
  const zoq::tuned_values values = values_for(m, delta_file);
  std::vector<token_t> next = m.words.encode(prompt, common.mode());
  if (m.words.adds_bos()) {
    next.insert(next.begin(), m.words.bos());
  }
  require(!next.empty(), "--prompt has no tokens");
  const index_t context = m.model.config().context;
  const auto prompt_tokens = static_cast<index_t>(next.size());
  require(prompt_tokens < context, "--prompt has ", prompt_tokens,
          " tokens, the model's context is ", context);

  std::vector<token_t> made;
  const index_t rows = prompt_tokens + std::min(most, context - prompt_tokens);
  const auto next_token = [&](const std::vector<float>& logits) -> std::optional<token_t> {
    interrupt::check("stopped");
    const token_t id = choose(logits, how, made.size());
    if (id == m.words.eos()) {
      return {};
    }
    made.push_back(id);
    if (!common.json) {
      std::cout << m.words.piece(id) << std::flush;
    }
    return prompt_tokens + static_cast<index_t>(made.size()) < rows ? std::optional(id)
                                                                    : std::nullopt;
  };
  on_device(common, generate_job{m, values, next, rows, next_token, delta_file});
  if (common.json) {
    print_json({{"prompt", prompt}, {"text", m.words.decode(made)}, {"tokens", made}});
  } else {
    std::cout << "\n";
  }
  return 0;
}

}  // namespace zoq::cli
