// saved: any scores, which are written to a file as they pass, a matrix at a time.
//
//     zoq::score_writer file("fisher.safetensors", zoq::scored_matrices(model.tensors()));
//     auto mask = zoq::top_k(zoq::saved(zoq::fisher(exec, model, text), file), {.density = 0.001});
//     file.commit();
//
// The scores of all weights serve a quantiser as the importance of their errors: model/quantize.hpp.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/io/score_file.hpp"
#include "zoq/ops/tensors.hpp"

namespace zoq {

/// The matrices that scores are of: those of linear layers, in the model's order.
std::vector<scored_matrix> scored_matrices(std::span<const model_tensor> tensors);

/// Keeps a reference to the file, which must be committed afterwards.
template <class Scores>
class saved {
 public:
  /// The file must outlive it, and have all of the matrices.
  saved(Scores scores, score_writer& file) : scores_(std::move(scores)), file_(file) {}

  /// As the scores' own.
  [[nodiscard]] index_t entries() const { return scores_.entries(); }

  /// As the scores' own. Throws also what score_writer::put throws.
  template <class Visit>
  auto visit(Visit&& visit) const {
    return scores_.visit(
        [&](std::string_view tensor, index_t rows, index_t columns, std::span<const float> scores) {
          file_.put(tensor, rows, columns, scores);
          visit(tensor, rows, columns, scores);
        });
  }

 private:
  Scores scores_;
  score_writer& file_;
};

}  // namespace zoq

#if ZOQ_BODIES

namespace zoq {

ZOQ_BODY std::vector<scored_matrix> scored_matrices(std::span<const model_tensor> tensors) {
  std::vector<scored_matrix> out;
  for (const model_tensor& t : tensors) {
    if (t.role == tensor_role::linear) {
      out.push_back({t.name, t.weight.rows(), t.weight.columns()});
    }
  }
  return out;
}

}  // namespace zoq

#endif
