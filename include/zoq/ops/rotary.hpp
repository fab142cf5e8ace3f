// rotary: position enters by turning pairs of a head's coordinates. Pair i is two neighbours
// (2i, 2i + 1), GGUF's order for Llama, or of the two halves (i, i + D / 2), the order of Hugging Face:
//
//     angle = position * base^(-2i / D);   (a, b) -> (a cos - b sin, a sin + b cos)
//
// Su et al., "RoFormer", arXiv 2104.09864. The table of cosines and sines is made once for a model.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// (cos, sin) pairs of every position and pair of coordinates: [positions, D], in double, rounded.
std::vector<float> rotary_table(index_t positions, index_t head_size, double base);

/// What turns together: coordinates 2i and 2i + 1 of a head, or i and i + D / 2.
enum class rotary_pairs { neighbours, halves };

/// Turns one row of x. `direction` +1 turns, -1 turns back (the reverse of the turn).
struct rotary_row {
  tensor_view<float, 2> x;            // [R, H * D]
  const std::int32_t* position;       // [rows_per_branch]
  tensor_view<const float, 2> table;  // [positions, D]
  index_t rows_per_branch;            // T
  float direction;                    // 1 or -1
  bool halves;                        // see rotary_pairs

  ZOQ_HD void operator()(index_t r) const {
    const index_t size = table.shape[1];
    const float* turn = table.data + position[r % rows_per_branch] * size;
    float* row = x.data + r * x.shape[1];
    if (halves) {
      turn_halves(row, turn);
      return;
    }
    for (index_t head = 0; head < x.shape[1]; head += size) {
      for (index_t i = 0; i < size; i += 2) {
        const float a = row[head + i];
        const float b = row[head + i + 1];
        const float cosine = turn[i];
        const float sine = turn[i + 1] * direction;
        row[head + i] = a * cosine - b * sine;
        row[head + i + 1] = a * sine + b * cosine;
      }
    }
  }

 private:
  ZOQ_HD void turn_halves(float* row, const float* turn) const {
    const index_t size = table.shape[1];
    for (index_t head = 0; head < x.shape[1]; head += size) {
      for (index_t i = 0; i < size / 2; ++i) {
        const float a = row[head + i];
        const float b = row[head + i + size / 2];
        const float cosine = turn[2 * i];
        const float sine = turn[2 * i + 1] * direction;
        row[head + i] = a * cosine - b * sine;
        row[head + i + size / 2] = a * sine + b * cosine;
      }
    }
  }
};

/// One pair of x, for devices: neighbouring threads touch neighbouring memory.
struct rotary_pair {
  rotary_row all;  // the rows

  ZOQ_HD void operator()(index_t i) const {
    const index_t pairs = all.x.shape[1] / 2, size = all.table.shape[1];
    const index_t r = i / pairs;
    const index_t in_head = 2 * (i % pairs) % size;  // twice the pair's number in its head
    const float* turn = all.table.data + all.position[r % all.rows_per_branch] * size + in_head;
    float* first = all.x.data + 2 * i - (all.halves ? in_head / 2 : 0);
    float* second = first + (all.halves ? size / 2 : 1);
    const float a = *first;
    const float b = *second;
    const float sine = turn[1] * all.direction;
    *first = a * turn[0] - b * sine;
    *second = a * sine + b * turn[0];
  }
};

/// Turns x in place. x: [branches * T, H * D], position: [T] (each within the table),
/// table: [positions, D]. Throws when the shapes disagree.
template <executor X>
void rotary(const X& exec, tensor_view<float, 2> x, tensor_view<const std::int32_t, 1> position,
            tensor_view<const float, 2> table, float direction = 1.0f,
            rotary_pairs pairs = rotary_pairs::neighbours) {
  require(position.shape[0] != 0 && x.shape[0] % position.shape[0] == 0 &&
              x.shape[1] % table.shape[1] == 0,
          "rotary: x is ", x.shape[0], " x ", x.shape[1], " for ", position.shape[0],
          " positions and heads of ", table.shape[1]);
  const rotary_row all{
      x, position.data, table, position.shape[0], direction, pairs == rotary_pairs::halves};
  if constexpr (on_host<typename X::space>) {
    exec.for_each(x.shape[0], all);
  } else {
    exec.for_each(x.size() / 2, rotary_pair{all});
  }
}

}  // namespace zoq

#if ZOQ_BODIES

#include <cmath>

namespace zoq {

ZOQ_BODY std::vector<float> rotary_table(index_t positions, index_t head_size, double base) {
  std::vector<float> table(static_cast<std::size_t>(positions * head_size));
  for (index_t p = 0; p < positions; ++p) {
    for (index_t i = 0; i < head_size / 2; ++i) {
      const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(head_size);
      const double angle = static_cast<double>(p) * std::pow(base, exponent);
      const auto at = static_cast<std::size_t>(p * head_size + 2 * i);
      table[at] = static_cast<float>(std::cos(angle));
      table[at + 1] = static_cast<float>(std::sin(angle));
    }
  }
  return table;
}

}  // namespace zoq

#endif
