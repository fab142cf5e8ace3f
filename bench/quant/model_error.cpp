// How far a quantised model lies from the model of floats that it was made from: weights and logits.
//
//     model_error --model float.gguf --new lut4.safetensors --kept lut4.safetensors.kept.safetensors
//                 --importance fisher.safetensors --text lines.txt [--lines 20] [--length 128]
//
// Of the matrices of linear layers: the root of sum (new - old)^2 / sum old^2 over all weights, kept ones
// with what is kept beside; the same with each square times its importance. Of the logits at every
// position of the first lines of a text (or of lines of token numbers, --tokens FILE): each position's
// logits less their mean, the root of sum (new - old)^2 / sum old^2; the mean over positions of the
// Kullback-Leibler divergence of the new next-token probabilities from the old; how often the likeliest
// token is the same; and the mean next-token losses of both. One line of JSON.
//
// Both models have GGUF's order of rows: a Hugging Face Llama is written as GGUF in f32 first.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>
#include <zoq/exec/cpu.hpp>
#include <zoq/io/open_model_file.hpp>
#include <zoq/io/safetensors.hpp>
#include <zoq/io/tokenizer.hpp>
#include <zoq/model/llama.hpp>
#include <zoq/model/llama_forward.hpp>
#include <zoq/view/delta.hpp>
#include <zoq/view/sparse.hpp>

#include "program.hpp"

namespace {

using zoq::index_t;

// Relative error of weights, plain and weighted.
struct weight_sums {
  double squares = 0, changes = 0, weighted_squares = 0, weighted_changes = 0;

  void add(float before, float after, float matters) {
    const double x = static_cast<double>(before), d = static_cast<double>(after) - x;
    const double w = static_cast<double>(matters);
    squares += x * x;
    changes += d * d;
    weighted_squares += w * x * x;
    weighted_changes += w * d * d;
  }
};

weight_sums weights_of(const zoq::llama& old, const zoq::llama& now, const zoq::delta& kept,
                       const std::optional<zoq::safetensors_file>& importance) {
  weight_sums sums;
  std::vector<float> before, after, matters;
  for (const zoq::model_tensor& t : old.tensors()) {
    if (t.role != zoq::tensor_role::linear) {
      continue;
    }
    const index_t n = zoq::find_tensor(now.tensors(), t.name), columns = t.weight.columns();
    zoq::require(n >= 0, "the new model has no ", t.name);
    if (importance) {
      matters = importance->values<float>(t.name);
    } else {
      matters.assign(static_cast<std::size_t>(t.weight.rows() * columns), 1.0f);
    }
    const std::vector<std::int32_t>* places = nullptr;
    std::size_t value = 0, next = 0;
    for (const zoq::tensor_mask& m : kept.places.tensors) {
      if (m.tensor == t.name) {
        places = &m.index;
        break;
      }
      value += m.index.size();
    }
    before.resize(static_cast<std::size_t>(columns));
    after.resize(before.size());
    for (index_t o = 0; o < t.weight.rows(); ++o) {
      t.weight.visit([&](const auto& w) { zoq::decode_row(w, o, before.data()); });
      now.tensor(n).weight.visit([&](const auto& w) { zoq::decode_row(w, o, after.data()); });
      for (index_t c = 0; c < columns; ++c) {
        const index_t flat = o * columns + c;
        float y = after[static_cast<std::size_t>(c)];
        if (places != nullptr && next < places->size() && (*places)[next] == flat) {
          y += kept.values[value + next++];
        }
        sums.add(before[static_cast<std::size_t>(c)], y, matters[static_cast<std::size_t>(flat)]);
      }
    }
  }
  return sums;
}

// What the logits of the two models say at every position.
struct logit_sums {
  double squares = 0, changes = 0, divergence = 0, loss = 0, new_loss = 0;
  index_t positions = 0, same = 0, predicted = 0;

  // Of one position; `next`: the token that follows, or -1.
  void add(std::span<const float> old, std::span<const float> now, zoq::token_t next) {
    const auto n = static_cast<double>(old.size());
    const auto sum = [](std::span<const float> x, const auto& term) {
      double s = 0;
      for (const float v : x) {
        s += term(static_cast<double>(v));
      }
      return s;
    };
    const auto plain = [](double v) { return v; };
    const double mean = sum(old, plain) / n, new_mean = sum(now, plain) / n;
    const auto normaliser = [&](std::span<const float> x) {
      const double most = static_cast<double>(*std::max_element(x.begin(), x.end()));
      return most + std::log(sum(x, [&](double v) { return std::exp(v - most); }));
    };
    const double log_sum = normaliser(old), new_log_sum = normaliser(now);
    for (std::size_t v = 0; v < old.size(); ++v) {
      const double x = static_cast<double>(old[v]), y = static_cast<double>(now[v]);
      squares += (x - mean) * (x - mean);
      changes += (y - new_mean - (x - mean)) * (y - new_mean - (x - mean));
      divergence += std::exp(x - log_sum) * ((x - log_sum) - (y - new_log_sum));
    }
    const auto best = [](std::span<const float> x) {
      return std::max_element(x.begin(), x.end()) - x.begin();
    };
    same += best(old) == best(now) ? 1 : 0;
    ++positions;
    if (next >= 0) {
      loss += log_sum - static_cast<double>(old[static_cast<std::size_t>(next)]);
      new_loss += new_log_sum - static_cast<double>(now[static_cast<std::size_t>(next)]);
      ++predicted;
    }
  }
};

std::vector<std::vector<zoq::token_t>> sequences_of(const std::string& path, bool numbers,
                                                    const zoq::model_file& file, index_t lines,
                                                    index_t length) {
  std::optional<zoq::tokenizer> words;
  if (!numbers) {
    words.emplace(file);
  }
  std::ifstream in(path);
  zoq::require(in.good(), path, ": cannot be read");
  std::vector<std::vector<zoq::token_t>> out;
  for (std::string line; static_cast<index_t>(out.size()) < lines && std::getline(in, line);) {
    std::vector<zoq::token_t> tokens;
    if (numbers) {
      std::istringstream list(line);
      for (zoq::token_t t; list >> t;) {
        tokens.push_back(t);
      }
    } else {
      tokens = words->encode(line, zoq::special::plain);
    }
    tokens.resize(std::min(tokens.size(), static_cast<std::size_t>(length)));
    if (tokens.size() > 1) {
      out.push_back(std::move(tokens));
    }
  }
  zoq::require(!out.empty(), path, ": has no line of two tokens");
  return out;
}

int measure(int argc, char** argv) {
  const zoq::bench::arguments given("model_error", argc, argv,
                                    {{"--model", ""},
                                     {"--new", ""},
                                     {"--kept", ""},
                                     {"--importance", ""},
                                     {"--text", ""},
                                     {"--tokens", ""},
                                     {"--lines", "20"},
                                     {"--length", "128"}});
  const zoq::model_file old_file = zoq::open_model_file(given.text("--model"));
  const zoq::llama old = zoq::llama::from(old_file);
  const zoq::llama now = zoq::llama::from(zoq::open_model_file(given.text("--new")));
  zoq::delta kept;
  if (!given.text("--kept").empty()) {
    kept = zoq::read_delta(given.text("--kept"));
    zoq::require_model(kept.places, now.hash(), given.text("--kept"));
  }
  std::optional<zoq::safetensors_file> importance;
  if (!given.text("--importance").empty()) {
    importance = zoq::safetensors_file::open(given.text("--importance"));
  }
  const weight_sums w = weights_of(old, now, kept, importance);

  const bool numbers = !given.text("--tokens").empty();
  const auto sequences = sequences_of(given.text(numbers ? "--tokens" : "--text"), numbers,
                                      old_file, given.number("--lines"), given.number("--length"));
  const zoq::cpu exec;
  auto pass = zoq::forward_of(exec, old), new_pass = zoq::forward_of(exec, now);
  auto view = zoq::sparse_view(exec, now.tensors(), kept);
  view.move_to_values(exec);
  const auto vocabulary = static_cast<std::size_t>(old.config().vocabulary);
  std::vector<float> before, after;
  logit_sums l;
  for (const auto& tokens : sequences) {
    zoq::packing batch;
    const index_t all = batch.add(tokens);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      batch.read(all, static_cast<index_t>(i), 0);
    }
    pass.logits(batch, {}, before);
    new_pass.logits(batch, view.branches(), after);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const auto at = [&](const std::vector<float>& x) {
        return std::span(x).subspan(i * vocabulary, vocabulary);
      };
      l.add(at(before), at(after), i + 1 < tokens.size() ? tokens[i + 1] : -1);
    }
  }
  const auto per = [](double sum, index_t n) { return sum / static_cast<double>(n); };
  nlohmann::json line = {{"weight_error", std::sqrt(w.changes / w.squares)},
                         {"weighted_error", nullptr},
                         {"kept", kept.places.count()},
                         {"logit_error", std::sqrt(l.changes / l.squares)},
                         {"divergence", per(l.divergence, l.positions)},
                         {"same_best", per(static_cast<double>(l.same), l.positions)},
                         {"positions", l.positions},
                         {"loss", per(l.loss, l.predicted)},
                         {"new_loss", per(l.new_loss, l.predicted)}};
  if (importance) {
    line["weighted_error"] = std::sqrt(w.weighted_changes / w.weighted_squares);
  }
  std::printf("%s\n", line.dump().c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return measure(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "model_error: %s\n", e.what());
    return EXIT_FAILURE;
  }
}
