// lozo: low-rank directions of which one factor stays for a while. For every matrix [m, n]:
//
//     z = U V^T / sqrt(r),   U [m, r] and V [n, r] standard normal; U new at every seed,
//                            V of the frame, which changes every `refresh` steps
//
//     zoq::lozo direction{.rank = 2, .refresh = 50};      // frame: set by direction_at
//
// E[z z^T] = I over U and V: the mean of estimates is the gradient when frames are averaged over, and
// within a frame it lies in the rows that V spans. Nothing is stored: elements of U and V are made
// where they are needed, 1.25 r normal numbers an element. Chen et al., "Enhancing Zeroth-order
// Fine-tuning for Language Models with Low-rank Structures", arXiv 2410.07698: there the step is along
// U V^T and the estimate over r; this is the same with epsilon times sqrt(r).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/random/direction.hpp"
#include "zoq/random/gaussian.hpp"
#include "zoq/random/matrices.hpp"
#include "zoq/random/philox.hpp"

namespace zoq {

struct lozo {
  static constexpr std::string_view name = "lozo";
  static constexpr std::string_view summary =
      "U V^T of rank r for every matrix, V fixed for some steps";
  static constexpr std::string_view paper = "arXiv 2410.07698";
  static constexpr bool needs_matrices = true;  // among the values

  int rank = 2;                            // r
  std::uint64_t refresh = 50;              // steps for which V stays
  seed_t frame = 0;                        // names V
  mutable std::vector<extent> matrices{};  // of the last call of `at`

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("rank", self.rank);
    f("refresh", self.refresh);
  }

  /// The largest r: a loop over elements holds a row of each factor.
  static constexpr int most_rank = 64;

  /// The field of one seed, in a frame.
  struct field_type {
    const extent* matrices;  // [count], the direction's
    index_t count;           // of matrices
    /// Names U.
    seed_t seed, frame;  // names V
    int rank;            // r
    double factor;       // 1 / sqrt(rank)

    /// Row `row` of a factor: rank numbers. A factor's rows are numbered by the tensor's first
    /// element, so that no two tensors share one.
    ZOQ_HD static void factor_row(seed_t of, std::uint64_t stream, index_t row, int rank,
                                  float* out) {
      const auto groups = static_cast<std::uint64_t>((rank + 3) / 4);
      for (int a = 0; a < rank; a += 4) {
        const float4v four = normal_of(
            philox(of, static_cast<std::uint64_t>(row) * groups + static_cast<std::uint64_t>(a / 4),
                   stream));
        for (int j = 0; j < 4 && a + j < rank; ++j) {
          out[a + j] = four.at[j];
        }
      }
    }

    ZOQ_HD float4v four(index_t block) const {
      float4v out{};
      float4v normal{};
      float u[most_rank], v[most_rank];
      index_t held = -1;  // the row in u
      bool normal_held = false;
      for (int j = 0; j < 4; ++j) {
        const index_t element = 4 * block + j;
        const extent* t = matrix_at(matrices, count, element);
        if (t == nullptr) {
          if (!normal_held) {
            normal = gaussian::field_type{seed}.four(block);
            normal_held = true;
          }
          out.at[j] = normal.at[j];
          continue;
        }
        const index_t row = t->first + (element - t->first) / t->columns;
        if (row != held) {
          factor_row(seed, 1, row, rank, u);
          held = row;
        }
        factor_row(frame, 2, t->first + (element - t->first) % t->columns, rank, v);
        double sum = 0;  // products of floats are exact in double
        for (int a = 0; a < rank; ++a) {
          sum += static_cast<double>(u[a]) * static_cast<double>(v[a]);
        }
        out.at[j] = static_cast<float>(factor * sum);
      }
      return out;
    }
  };

  /// Valid until the next call of this copy's `at`. Throws when no tensor is a matrix; on a rank
  /// outside [1, 64]; where the loops are a device's.
  [[nodiscard]] field_type at(seed_t seed, const value_order& order) const;
};
static_assert(direction<lozo>);

}  // namespace zoq

#if ZOQ_BODIES

#include "zoq/core/error.hpp"

namespace zoq {

ZOQ_BODY lozo::field_type lozo::at(seed_t seed, const value_order& order) const {
  require(rank >= 1 && rank <= most_rank, name, ": rank is ", rank, ", wanted 1 to ", most_rank);
  matrices = matrices_of(order, name);
  return {matrices.data(),
          static_cast<index_t>(matrices.size()),
          seed,
          frame,
          rank,
          1.0 / std::sqrt(static_cast<double>(rank))};
}

}  // namespace zoq

#endif
