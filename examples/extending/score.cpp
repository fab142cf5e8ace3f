// A new score: how far a weight stands out of its row.
//
// Its last line: entry 5 of blk\.0\.ffn_up\.weight
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <iostream>
#include <span>
#include <string_view>
#include <vector>
#include <zoq/ops/tensors.hpp>
#include <zoq/sparse/top_k.hpp>

// score = |w| / (mean |w| of its row)
class outlier_score {
 public:
  static constexpr std::string_view name = "outlier";
  static constexpr std::string_view summary = "weights that stand out of their row";
  static constexpr std::string_view paper = "";
  static constexpr std::string_view cost = "one reading of the weights";
  explicit outlier_score(std::span<const zoq::model_tensor> tensors) : tensors_(tensors) {}

  zoq::index_t entries() const { return zoq::linear_weights(tensors_); }

  template <class Visit>
  void visit(Visit&& visit) const {
    for (const zoq::model_tensor& t : tensors_) {
      if (t.role != zoq::tensor_role::linear) {
        continue;
      }
      const zoq::index_t rows = t.weight.rows(), columns = t.weight.columns();
      std::vector<float> scores(static_cast<std::size_t>(rows * columns));
      for (zoq::index_t o = 0; o < rows; ++o) {
        float* row = scores.data() + o * columns;
        t.weight.visit([&](const auto& w) { zoq::decode_row(w, o, row); });
        float sum = 0;
        for (zoq::index_t c = 0; c < columns; ++c) {
          sum += row[c] = std::fabs(row[c]);
        }
        for (zoq::index_t c = 0; c < columns && sum > 0; ++c) {
          row[c] *= static_cast<float>(columns) / sum;
        }
      }
      visit(t.name, rows, columns, std::span<const float>(scores));
    }
  }

 private:
  std::span<const zoq::model_tensor> tensors_;
};
static_assert(requires(const outlier_score& score) { zoq::top_k(score, zoq::top_k_options{}); });

int main() {
  const std::vector<float> weights = {9, 8, 9, 8, 0, -1, 0, 0};  // [2, 4]
  const std::vector<zoq::model_tensor> tensors = {
      {"blk.0.ffn_up.weight", zoq::any_packed{zoq::float_matrix(weights.data(), 2, 4)}}};
  const zoq::mask best = zoq::top_k(outlier_score(tensors), {.density = 0.125});
  std::cout << "entry " << best.tensors[0].index[0] << " of " << best.tensors[0].tensor << "\n";
  return best.count() == 1 && best.tensors[0].index[0] == 5 ? 0 : 1;
}
