// A Llama forward pass as its paper writes it, one sequence at a time, over any scalar: double, or
// a variable on a tape, which gives all gradients. Slow, and simple enough to be believed.
//
//     zoq::test::reference_llama<double> model(config, weights);
//     model.logits(tokens);                               // [T][V]
//     zoq::test::next_token_gradients(config, weights, tokens);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "ops/samples.hpp"
#include "zoq/core/config.hpp"
#include "zoq/model/llama_config.hpp"

namespace zoq::test {

/// What was computed: every node with its partial derivatives towards up to two earlier nodes.
struct tape {
  struct node {
    std::int32_t from[2];
    double partial[2];
  };
  static inline std::vector<node> nodes{};  // of the pass that is running

  static std::int32_t add(std::int32_t a, double da, std::int32_t b, double db) {
    nodes.push_back({{a, b}, {da, db}});
    return static_cast<std::int32_t>(nodes.size() - 1);
  }
  /// The derivatives of node `last` towards all nodes.
  static std::vector<double> gradients(std::int32_t last) {
    std::vector<double> g(nodes.size());
    g[static_cast<std::size_t>(last)] = 1;
    for (std::size_t i = nodes.size(); i-- > 0;) {
      for (int j = 0; j < 2; ++j) {
        if (nodes[i].from[j] >= 0) {
          g[static_cast<std::size_t>(nodes[i].from[j])] += g[i] * nodes[i].partial[j];
        }
      }
    }
    return g;
  }
};

/// A number on the tape; constants have no node.
struct variable {
  double value = 0;
  std::int32_t node = -1;
  variable() = default;
  variable(double x) : value(x) {}  // NOLINT(google-explicit-constructor)
  variable(double x, std::int32_t n) : value(x), node(n) {}
  static variable input(double x) { return {x, tape::add(-1, 0, -1, 0)}; }
};
inline variable operator+(const variable& a, const variable& b) {
  return {a.value + b.value, tape::add(a.node, 1, b.node, 1)};
}
inline variable operator-(const variable& a, const variable& b) {
  return {a.value - b.value, tape::add(a.node, 1, b.node, -1)};
}
inline variable operator*(const variable& a, const variable& b) {
  return {a.value * b.value, tape::add(a.node, b.value, b.node, a.value)};
}
inline variable operator/(const variable& a, const variable& b) {
  const double q = a.value / b.value;
  return {q, tape::add(a.node, 1 / b.value, b.node, -q / b.value)};
}
inline variable exp(const variable& a) {
  const double y = std::exp(a.value);
  return {y, tape::add(a.node, y, -1, 0)};
}
inline variable log(const variable& a) {
  return {std::log(a.value), tape::add(a.node, 1 / a.value, -1, 0)};
}
inline variable sqrt(const variable& a) {
  const double y = std::sqrt(a.value);
  return {y, tape::add(a.node, 0.5 / y, -1, 0)};
}

template <class T>
class reference_llama {
 public:
  using row = std::vector<T>;
  using rows = std::vector<row>;

  /// weights: by tensor number, in the order of the file; without the last one the head is tied.
  reference_llama(const llama_config& config, rows weights)
      : c_(config), weights_(std::move(weights)) {}

  const rows& weights() const { return weights_; }

  /// The stream after the embedding and after every layer: [layers + 1][T][C].
  std::vector<rows> streams(const std::vector<token_t>& tokens) const {
    rows x;
    for (const token_t t : tokens) {
      const auto first = weights_[0].begin() + t * c_.hidden;
      x.emplace_back(first, first + c_.hidden);
    }
    std::vector<rows> out = {x};
    for (index_t l = 0; l < c_.layers; ++l) {
      const auto w = [&](index_t j) -> const row& { return weights_[at(1 + 9 * l + j)]; };
      rows q, k, v;
      for (std::size_t t = 0; t < x.size(); ++t) {
        const row h = norm(x[t], w(0));
        q.push_back(turn(product(w(1), h), t));
        k.push_back(turn(product(w(2), h), t));
        v.push_back(product(w(3), h));
      }
      for (std::size_t t = 0; t < x.size(); ++t) {
        add(product(w(4), attend(q[t], k, v, t)), x[t]);
        const row h = norm(x[t], w(5));
        row gate = product(w(6), h);
        const row up = product(w(7), h);
        for (std::size_t i = 0; i < gate.size(); ++i) {
          using std::exp;
          gate[i] = gate[i] / (T(1.0) + exp(T(0.0) - gate[i])) * up[i];
        }
        add(product(w(8), gate), x[t]);
      }
      out.push_back(x);
    }
    return out;
  }

  /// All logits of every position: [T][V].
  rows logits(const std::vector<token_t>& tokens) const {
    rows out;
    const auto number = at(1 + 9 * c_.layers);
    const row& head = number + 1 < weights_.size() ? weights_[number + 1] : weights_[0];
    const std::vector<rows> all = streams(tokens);
    for (const row& x : all.back()) {
      out.push_back(product(head, norm(x, weights_[number])));
    }
    return out;
  }

  /// log p(target) at one position's logits.
  static T log_likelihood(const row& logits, token_t target) {
    using std::exp;
    using std::log;
    T sum(0.0);
    for (const T& x : logits) {
      sum = sum + exp(x);
    }
    return logits[static_cast<std::size_t>(target)] - log(sum);
  }

  /// The mean next-token loss of a window.
  T next_token_loss(const std::vector<token_t>& tokens) const {
    const rows all = logits(tokens);
    T sum(0.0);
    for (std::size_t t = 0; t + 1 < tokens.size(); ++t) {
      sum = sum - log_likelihood(all[t], tokens[t + 1]);
    }
    return sum / T(static_cast<double>(tokens.size() - 1));
  }

 private:
  row norm(const row& x, const row& gain) const {
    using std::sqrt;
    T squares(0.0);
    for (const T& value : x) {
      squares = squares + value * value;
    }
    const T scale =
        sqrt(squares / T(static_cast<double>(x.size())) + T(static_cast<double>(c_.norm_epsilon)));
    row y;
    for (std::size_t i = 0; i < x.size(); ++i) {
      y.push_back(x[i] / scale * gain[i]);
    }
    return y;
  }

  static row product(const row& w, const row& x) {
    row y;
    for (std::size_t o = 0; o < w.size() / x.size(); ++o) {
      T sum(0.0);
      for (std::size_t i = 0; i < x.size(); ++i) {
        sum = sum + w[o * x.size() + i] * x[i];
      }
      y.push_back(sum);
    }
    return y;
  }

  static void add(const row& y, row& x) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = x[i] + y[i];
    }
  }

  row turn(row x, std::size_t position) const {
    const auto size = at(c_.head_size);
    for (std::size_t i = 0; i < x.size(); i += 2) {
      const double angle =
          static_cast<double>(position) *
          std::pow(c_.rope_base, -static_cast<double>(i % size) / static_cast<double>(size));
      const T a = x[i];
      const T b = x[i + 1];
      x[i] = a * T(std::cos(angle)) - b * T(std::sin(angle));
      x[i + 1] = a * T(std::sin(angle)) + b * T(std::cos(angle));
    }
    return x;
  }

  row attend(const row& q, const rows& k, const rows& v, std::size_t position) const {
    using std::exp;
    const auto size = at(c_.head_size);
    row out;
    for (std::size_t head = 0; head < at(c_.heads); ++head) {
      const std::size_t shared = head / at(c_.heads / c_.kv_heads) * size;
      row weight;
      T total(0.0);
      for (std::size_t j = 0; j <= position; ++j) {
        T score(0.0);
        for (std::size_t d = 0; d < size; ++d) {
          score = score + q[head * size + d] * k[j][shared + d];
        }
        weight.push_back(exp(score * T(1 / std::sqrt(static_cast<double>(size)))));
        total = total + weight.back();
      }
      for (std::size_t d = 0; d < size; ++d) {
        T mean(0.0);
        for (std::size_t j = 0; j <= position; ++j) {
          mean = mean + weight[j] * v[j][shared + d];
        }
        out.push_back(mean / total);
      }
    }
    return out;
  }

  llama_config c_;
  rows weights_;
};

inline reference_llama<double> in_double(const llama_config& config,
                                         const std::vector<std::vector<float>>& weights) {
  std::vector<std::vector<double>> w;
  for (const auto& tensor : weights) {
    w.emplace_back(tensor.begin(), tensor.end());
  }
  return {config, std::move(w)};
}

struct gradients {
  double loss;
  std::vector<std::vector<double>> tensor;  // by tensor number
};

/// Loss and gradients of the mean next-token loss of one window, by the chain rule on a tape.
inline gradients next_token_gradients(const llama_config& config,
                                      const std::vector<std::vector<float>>& weights,
                                      const std::vector<token_t>& tokens) {
  tape::nodes.clear();
  std::vector<std::vector<variable>> w;
  for (const auto& tensor : weights) {
    w.emplace_back();
    for (const float value : tensor) {
      w.back().push_back(variable::input(static_cast<double>(value)));
    }
  }
  const reference_llama<variable> model(config, std::move(w));
  const variable loss = model.next_token_loss(tokens);
  const std::vector<double> all = tape::gradients(loss.node);
  gradients out{loss.value, {}};
  for (const auto& tensor : model.weights()) {
    out.tensor.emplace_back();
    for (const variable& x : tensor) {
      out.tensor.back().push_back(all[static_cast<std::size_t>(x.node)]);
    }
  }
  tape::nodes.clear();
  tape::nodes.shrink_to_fit();
  return out;
}

}  // namespace zoq::test
