// subzero: directions in a random low-rank subspace of every matrix [m, n]:
//
//     z = sqrt(m n) / r  U Z V^T,   Z [r, r] standard normal, new at every seed;
//                                   U [m, r], V [n, r] of orthonormal columns, of the frame, which
//                                   changes every `refresh` steps
//
//     zoq::subzero direction{.rank = 16, .refresh = 500};     // frame: set by direction_at
//
// E[z z^T] = I over frames and seeds, and |z|^2 is m n on average, as of a standard normal z: an epsilon
// chosen for one serves the other. (The authors' code has the same factor.) U = G R^-1 with G standard
// normal and R^T R = G^T G, so its columns span what those of G do. Memory: 2 (m + n) r floats a
// matrix, in the direction; U and V are shared by copies and never change, U Z is each copy's own, so a
// field is valid until the next call of `at`. Yu et al., "Zeroth-Order Fine-Tuning of LLMs in Random
// Subspaces", arXiv 2410.08989.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/random/direction.hpp"
#include "zoq/random/gaussian.hpp"
#include "zoq/random/matrices.hpp"
#include "zoq/random/philox.hpp"

namespace zoq {

namespace detail {

/// `rows` rows of `rank` standard normal numbers, keyed by (seed, stream, row), from row `first`
/// on. A row takes the blocks of `most` numbers, at least rank.
std::vector<float> normal_rows(seed_t seed, std::uint64_t stream, index_t first, index_t rows,
                               int rank, int most);

/// Replaces the columns of g [rows, rank] by an orthonormal basis of what they span: g R^-1, R^T R =
/// g^T g. In double but for R^-1, which is rounded to float once: products of floats are exact in
/// double, so that no bit depends on whether a compiler fuses them into sums. Cost: rows rank^2.
void orthonormalise(std::vector<float>& g, int rank);

}  // namespace detail

/// What a direction keeps: U and V of its frame, and U Z of its last seed.
class subzero_memory {
 public:
  /// Where the factors of one matrix are.
  struct matrix {
    int rank = 0;  // r, or the least extent where that is less
    /// Where U starts in `factors`, and U Z in `moving`.
    index_t u = 0, v = 0;  // where V does in `factors`
    double factor = 0;     // sqrt(m n) / r
  };
  /// The factors of all matrices.
  struct frame_data {
    seed_t frame = 0;              // its seed
    int rank = 0;                  // r
    std::vector<extent> tensors;   // the matrices, by their place in the field
    std::vector<matrix> matrices;  // one for each of `tensors`
    std::vector<float> factors;    // U [m, r] and V [n, r] of every matrix
  };

  subzero_memory() = default;
  /// A copy shares the frame, which never changes, and has a U Z of its own.
  subzero_memory(const subzero_memory& other) : frame_(other.frame_) {}
  /// Likewise.
  subzero_memory& operator=(const subzero_memory& other) {
    frame_ = other.frame_;
    return *this;
  }
  /// Takes frame and U Z.
  subzero_memory(subzero_memory&&) = default;
  /// Likewise.
  subzero_memory& operator=(subzero_memory&&) = default;
  ~subzero_memory() = default;

  /// The factors of a frame; made when it is another than the last. Cost then: (m + n) r^2 a matrix.
  const frame_data& frame_of(seed_t frame, int rank, const std::vector<extent>& matrices);

  /// U Z of every matrix, at the places of U, with the factor. Cost: m r^2 a matrix.
  const float* moving_of(seed_t seed);

 private:
  std::shared_ptr<const frame_data> frame_;
  std::vector<float> moving_;  // this copy's U Z
};

struct subzero {
  static constexpr std::string_view name = "subzero";
  static constexpr std::string_view summary =
      "U Z V^T for every matrix, U and V orthonormal and fixed for some steps";
  static constexpr std::string_view paper = "arXiv 2410.08989";
  static constexpr bool needs_matrices = true;  // among the values

  int rank = 16;                    // r
  std::uint64_t refresh = 500;      // steps for which U and V stay
  seed_t frame = 0;                 // names U and V
  mutable subzero_memory memory{};  // of the last call of `at`

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("rank", self.rank);
    f("refresh", self.refresh);
  }

  /// The field of one seed, in a frame.
  struct field_type {
    const extent* tensors;                   // [count], like all of this the direction's
    const subzero_memory::matrix* matrices;  // [count]
    const float* factors;                    // U and V of all matrices
    const float* moving;                     // U Z, at the places of U
    index_t count;                           // of matrices
    seed_t seed;                             // of what is in no matrix

    /// The elements 4 block ... 4 block + 3.
    ZOQ_HD float4v four(index_t block) const {
      float4v out{};
      float4v normal{};
      bool normal_held = false;
      for (int j = 0; j < 4; ++j) {
        const index_t element = 4 * block + j;
        const extent* t = matrix_at(tensors, count, element);
        if (t == nullptr) {
          if (!normal_held) {
            normal = gaussian::field_type{seed}.four(block);
            normal_held = true;
          }
          out.at[j] = normal.at[j];
          continue;
        }
        const subzero_memory::matrix& m = matrices[t - tensors];
        const float* u = moving + m.u + (element - t->first) / t->columns * m.rank;
        const float* v = factors + m.v + (element - t->first) % t->columns * m.rank;
        double sum = 0;
        for (int a = 0; a < m.rank; ++a) {
          sum += static_cast<double>(u[a]) * static_cast<double>(v[a]);
        }
        out.at[j] = static_cast<float>(sum);
      }
      return out;
    }
  };

  /// Valid until the next call of this copy's `at`. Throws when no tensor is a matrix; on a rank below
  /// 1; where the loops are a device's.
  [[nodiscard]] field_type at(seed_t seed, const value_order& order) const;
};
static_assert(direction<subzero>);

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "zoq/core/error.hpp"

namespace zoq {

namespace detail {

ZOQ_BODY std::vector<float> normal_rows(seed_t seed, std::uint64_t stream, index_t first,
                                        index_t rows, int rank, int most) {
  const auto groups = static_cast<std::uint64_t>((most + 3) / 4);
  std::vector<float> out;
  out.reserve(static_cast<std::size_t>(rows * rank));
  for (index_t row = first; row < first + rows; ++row) {
    for (int a = 0; a < rank; a += 4) {
      const float4v four = normal_of(
          philox(seed, static_cast<std::uint64_t>(row) * groups + static_cast<std::uint64_t>(a / 4),
                 stream));
      out.insert(out.end(), four.at, four.at + std::min(4, rank - a));
    }
  }
  return out;
}

ZOQ_BODY void orthonormalise(std::vector<float>& g, int rank) {
  const auto r = static_cast<std::size_t>(rank);
  std::vector<double> gram(r * r), inverse(r * r);
  for (std::size_t row = 0; row < g.size(); row += r) {
    for (std::size_t a = 0; a < r; ++a) {
      for (std::size_t b = a; b < r; ++b) {
        gram[a * r + b] += static_cast<double>(g[row + a]) * static_cast<double>(g[row + b]);
      }
    }
  }
  for (std::size_t a = 0; a < r; ++a) {  // gram becomes R, upper triangle
    for (std::size_t c = 0; c < a; ++c) {
      for (std::size_t b = a; b < r; ++b) {
        gram[a * r + b] = std::fma(-gram[c * r + a], gram[c * r + b], gram[a * r + b]);
      }
    }
    const double root = std::sqrt(gram[a * r + a]);
    for (std::size_t b = a; b < r; ++b) {
      gram[a * r + b] /= root;
    }
  }
  for (std::size_t b = 0; b < r; ++b) {  // column b of R^-1, by back substitution
    inverse[b * r + b] = 1 / gram[b * r + b];
    for (std::size_t a = b; a-- > 0;) {
      double sum = 0;
      for (std::size_t c = a + 1; c <= b; ++c) {
        sum = std::fma(gram[a * r + c], inverse[c * r + b], sum);
      }
      inverse[a * r + b] = -sum / gram[a * r + a];
    }
  }
  for (double& x : inverse) {
    x = static_cast<double>(static_cast<float>(x));
  }
  std::vector<float> line(r);
  for (std::size_t row = 0; row < g.size(); row += r) {
    for (std::size_t b = 0; b < r; ++b) {
      double sum = 0;
      for (std::size_t a = 0; a <= b; ++a) {
        sum += static_cast<double>(g[row + a]) * inverse[a * r + b];
      }
      line[b] = static_cast<float>(sum);
    }
    std::copy(line.begin(), line.end(), g.begin() + static_cast<std::ptrdiff_t>(row));
  }
}

}  // namespace detail

ZOQ_BODY const subzero_memory::frame_data& subzero_memory::frame_of(
    seed_t frame, int rank, const std::vector<extent>& matrices) {
  const auto same = [](const extent& a, const extent& b) {
    return a.first == b.first && a.rows == b.rows && a.columns == b.columns;
  };
  if (frame_ == nullptr || frame_->frame != frame || frame_->rank != rank ||
      !std::equal(frame_->tensors.begin(), frame_->tensors.end(), matrices.begin(), matrices.end(),
                  same)) {
    auto made = std::make_shared<frame_data>();
    made->frame = frame;
    made->rank = rank;
    made->tensors = matrices;
    for (const extent& t : made->tensors) {
      matrix m;
      m.rank = static_cast<int>(std::min<index_t>({rank, t.rows, t.columns}));
      m.factor = std::sqrt(static_cast<double>(t.rows) * static_cast<double>(t.columns)) / m.rank;
      for (const bool left : {true, false}) {
        (left ? m.u : m.v) = static_cast<index_t>(made->factors.size());
        std::vector<float> g = detail::normal_rows(frame, left ? 1 : 2, t.first,
                                                   left ? t.rows : t.columns, m.rank, rank);
        detail::orthonormalise(g, m.rank);
        made->factors.insert(made->factors.end(), g.begin(), g.end());
      }
      made->matrices.push_back(m);
    }
    frame_ = std::move(made);
  }
  return *frame_;
}

ZOQ_BODY const float* subzero_memory::moving_of(seed_t seed) {
  const frame_data& f = *frame_;
  moving_.resize(f.factors.size());
  std::vector<double> line;
  for (std::size_t t = 0; t < f.tensors.size(); ++t) {
    const matrix& m = f.matrices[t];
    const std::vector<float> z =
        detail::normal_rows(seed, 3, f.tensors[t].first, m.rank, m.rank, f.rank);
    const auto r = static_cast<std::size_t>(m.rank);
    for (index_t row = 0; row < f.tensors[t].rows; ++row) {
      const auto at = static_cast<std::size_t>(m.u) + static_cast<std::size_t>(row) * r;
      line.assign(r, 0.0);
      for (std::size_t a = 0; a < r; ++a) {
        for (std::size_t b = 0; b < r; ++b) {
          line[b] += static_cast<double>(f.factors[at + a]) * static_cast<double>(z[a * r + b]);
        }
      }
      for (std::size_t b = 0; b < r; ++b) {
        moving_[at + b] = static_cast<float>(m.factor * line[b]);
      }
    }
  }
  return moving_.data();
}

ZOQ_BODY subzero::field_type subzero::at(seed_t seed, const value_order& order) const {
  require(rank >= 1, name, ": rank is ", rank, ", wanted at least 1");
  const subzero_memory::frame_data& f = memory.frame_of(frame, rank, matrices_of(order, name));
  const float* moving = memory.moving_of(seed);
  return {f.tensors.data(),
          f.matrices.data(),
          f.factors.data(),
          moving,
          static_cast<index_t>(f.tensors.size()),
          seed};
}

}  // namespace zoq

#endif
