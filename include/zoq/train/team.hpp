// Several processes that take the steps of one run together, each with its share of a step's forwards.
//
//     zoq::trainer trainer{exec, model, view, objective, estimator, optimizer, zoq::mpi_team{}};
//
// All of them hold model, rows and values. A step exchanges losses alone, as integers that add exactly; so
// the values stay the same to the bit on all of them, and are those of one process.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "zoq/core/config.hpp"
#include "zoq/core/function_ref.hpp"
#include "zoq/estimate/total.hpp"

namespace zoq {

/// What is dealt out: the rows of a batch, or the points at which a step asks for losses. Points are dealt
/// in whole pairs; a step with fewer of them than processes leaves some idle.
enum class shared { rows, points };

template <class T>
concept team = std::copyable<T> && requires(const T& t, std::span<std::int64_t> numbers) {
  { t.size() } -> std::same_as<index_t>;
  { t.rank() } -> std::same_as<index_t>;  // 0 to size() - 1
  { t.share() } -> std::same_as<shared>;
  // Each number becomes the sum of those of all processes, on all of them. Throws when that fails.
  t.add_up(numbers);
};

/// One process: the default.
struct alone {
  [[nodiscard]] static index_t size() { return 1; }                  // one process
  [[nodiscard]] static index_t rank() { return 0; }                  // its number
  [[nodiscard]] static zoq::shared share() { return shared::rows; }  // all rows are its own
  static void add_up(std::span<std::int64_t>) {}                     // the numbers are the sums
};
static_assert(team<alone>);

/// The part of n things that is this process' own: first to last - 1. Parts differ by one at most.
struct own_part {
  /// The first of its own.
  index_t first = 0, last = 0;  // behind the last of its own
};
/// The part of n things that is the process' of this rank, among `size`.
constexpr own_part own_part_of(index_t n, index_t size, index_t rank) {
  return {n * rank / size, n * (rank + 1) / size};
}
/// This process' own part of n things.
template <team T>
own_part part_of(const T& t, index_t n) {
  return own_part_of(n, t.size(), t.rank());
}

namespace detail {
/// As below, of `count` processes.
void unite(index_t count, function_ref<void(std::span<std::int64_t>)> add_up,
           std::span<total> totals, index_t rows, std::string wrong, std::uint64_t step,
           std::uint64_t settings);
}  // namespace detail

/// Adds up what all processes found for a step's points: `rows` losses for each of `totals`. `wrong` says
/// that this one failed, and is empty where it did not: when one fails all throw, the others saying that they
/// do so for it. `step` and `settings` must be the same on all. Bytes sent by each process: 8 for each of
/// `totals`, and 32.
template <team T>
void unite(const T& t, std::span<total> totals, index_t rows, std::string wrong, std::uint64_t step,
           std::uint64_t settings) {
  detail::unite(
      t.size(), [&](std::span<std::int64_t> numbers) { t.add_up(numbers); }, totals, rows,
      std::move(wrong), step, settings);
}

}  // namespace zoq

#if ZOQ_BODIES

#include <cstddef>
#include <cstdlib>
#include <limits>
#include <vector>

#include "zoq/core/error.hpp"

namespace zoq::detail {

ZOQ_BODY void unite(index_t count, function_ref<void(std::span<std::int64_t>)> add_up,
                    std::span<total> totals, index_t rows, std::string wrong, std::uint64_t step,
                    std::uint64_t settings) {
  const auto size = static_cast<std::uint64_t>(count);
  std::vector<std::int64_t> sent;
  std::int64_t weight = 0;
  for (const total& one : totals) {
    if (std::abs(one.units) > std::numeric_limits<std::int64_t>::max() / count && wrong.empty()) {
      wrong = "a sum of losses overflows";
    }
    sent.push_back(one.units);
    weight += one.weight;
  }
  // What would differ on a process that is at another step, or of another run: sums modulo 2^64.
  sent.insert(sent.end(), {weight, wrong.empty() ? 0 : 1, static_cast<std::int64_t>(step),
                           static_cast<std::int64_t>(settings)});
  add_up(sent);
  const std::size_t n = totals.size();
  require(wrong.empty(), wrong);
  require(sent[n + 1] == 0, "another process failed, and says why");
  require(static_cast<std::uint64_t>(sent[n + 2]) == step * size &&
              static_cast<std::uint64_t>(sent[n + 3]) == settings * size,
          "the processes are at different steps, or have different settings");
  require(sent[n] == rows * static_cast<index_t>(n), "the processes found ", sent[n],
          " losses in all, wanted ", rows, " for each of ", n, " points");
  for (std::size_t i = 0; i < n; ++i) {
    totals[i] = {sent[i], rows};
  }
}

}  // namespace zoq::detail

#endif
