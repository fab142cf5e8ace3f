// Scores as a safetensors file: a float for every weight of the matrices that were scored.
//
//     zoq::score_writer file("scores.safetensors", {{"blk.0.attn_q.weight", 576, 576}}, {{"score", "fisher"}});
//     file.put("blk.0.attn_q.weight", 576, 576, scores);     // in any order, a matrix at a time
//     file.commit();                                         // without it there is no file
//
// One F32 tensor [rows, columns] for each matrix, under its name: what `zoq quantize --importance` reads,
// as SqueezeLLM's weights of squared errors (arXiv 2306.07629). The metadata says what they are scores of.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/io/atomic_file.hpp"
#include "zoq/io/safetensors.hpp"

namespace zoq {

/// A matrix whose every weight has a score.
struct scored_matrix {
  std::string name;  // as in GGUF files
  /// Of the matrix.
  index_t rows = 0, columns = 0;  // of the matrix
};

/// Writes scores as they come, whole or not at all.
class score_writer {
 public:
  /// Starts the file; `path` stays as it is until commit(). Throws as stream_safetensors does.
  score_writer(const std::string& path, std::vector<scored_matrix> matrices,
               const safetensors_file::strings& about = {});

  /// scores: [rows * columns]. Throws, naming file and matrix, when it is not announced, comes twice or
  /// is of another shape, and what atomic_file throws.
  void put(std::string_view matrix, index_t rows, index_t columns, std::span<const float> scores);

  /// Throws, naming file and matrix, when one never came.
  void commit();

 private:
  std::vector<scored_matrix> matrices_;
  std::vector<bool> written_;
  atomic_file file_;
  detail::safetensors_head head_;
};

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cstddef>
#include <utility>

#include "zoq/core/error.hpp"

namespace zoq {

ZOQ_BODY score_writer::score_writer(const std::string& path, std::vector<scored_matrix> matrices,
                                    const safetensors_file::strings& about)
    : matrices_(std::move(matrices)), written_(matrices_.size(), false), file_(path) {
  std::vector<safetensor_source> tensors;
  for (const scored_matrix& m : matrices_) {
    tensors.push_back({m.name, std::string(dtype_of<float>()), {m.rows, m.columns}, {}});
  }
  head_ = detail::head_of(path, tensors, about);
  file_.write(head_.bytes);
}

ZOQ_BODY void score_writer::put(std::string_view matrix, index_t rows, index_t columns,
                                std::span<const float> scores) {
  const auto at = std::find_if(matrices_.begin(), matrices_.end(),
                               [&](const scored_matrix& m) { return m.name == matrix; });
  require(at != matrices_.end(), file_.path(), ": ", matrix, " was not announced");
  const auto n = static_cast<std::size_t>(at - matrices_.begin());
  require(!written_[n], file_.path(), ": ", matrix, " comes twice");
  require(rows == at->rows && columns == at->columns &&
              static_cast<index_t>(scores.size()) == rows * columns,
          file_.path(), ": ", matrix, " has ", scores.size(), " scores for ", rows, " x ", columns,
          ", ", at->rows, " x ", at->columns, " were announced");
  file_.write_at(head_.begin[n], std::as_bytes(scores));
  written_[n] = true;
}

ZOQ_BODY void score_writer::commit() {
  const auto missing = std::find(written_.begin(), written_.end(), false);
  require(missing == written_.end(), file_.path(), ": no scores of ",
          missing == written_.end()
              ? std::string()
              : matrices_[static_cast<std::size_t>(missing - written_.begin())].name);
  file_.commit();
}

}  // namespace zoq

#endif
