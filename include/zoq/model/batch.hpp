// A packed batch in the executor's memory: what the layers of a forward pass need to know of it.
//
//     zoq::device_batch<X> batch;
//     batch.load(exec, packing, vocabulary, context);
//
// Rows from `first` on are in the stream of activations; earlier ones are seen through keys and
// values that a forward pass kept.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/ops/attention.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/packing.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// A packing in the executor's memory. Views of it are valid until the next `load`.
template <executor X>
class device_batch {
 public:
  using rows_view = tensor_view<const std::int32_t, 1>;  // numbers of rows, or their positions

  /// Copies `batch` to the executor's memory. Throws when a token is outside the vocabulary, a
  /// sequence is longer than the context, or nothing is read. Reads must be at `first` or later.
  void load(const X& exec, const packing& batch, index_t vocabulary, index_t context,
            index_t first = 0);

  [[nodiscard]] index_t rows() const { return rows_; }                  // T
  [[nodiscard]] index_t first() const { return first_; }                // of the stream
  [[nodiscard]] index_t stream_rows() const { return rows_ - first_; }  // N
  /// Q: rows from which an answer is read, each counted once.
  [[nodiscard]] index_t read_row_count() const {
    return static_cast<index_t>(read_rows_host_.size());
  }
  /// The place of `row` among the read rows.
  [[nodiscard]] index_t read_place(index_t row) const;

  [[nodiscard]] tensor_view<const token_t, 1> tokens() const { return in_stream(tokens_); }  // [N]
  [[nodiscard]] rows_view positions() const { return in_stream(position_); }                 // [N]
  [[nodiscard]] rows_view all_rows() const { return in_stream(identity_); }  // [N] row of each
  /// [Q] the rows that are read.
  [[nodiscard]] rows_view read_rows() const { return constant(read_rows_, read_row_count()); }
  [[nodiscard]] rows_view read_places() const {  // [Q] the read rows' places in the stream
    return constant(read_place_, read_row_count());
  }
  [[nodiscard]] rows_view read_positions() const {  // [Q]
    return constant(read_position_, read_row_count());
  }
  /// Which of the T rows sees which.
  [[nodiscard]] row_layout layout() const {
    return {constant(segments_, segment_count_), constant(segment_of_, rows_)};
  }
  [[nodiscard]] index_t byte_count() const;

 private:
  template <class T>
  using memory = buffer<T, typename X::space>;

  template <class T>
  static tensor_view<const T, 1> constant(const memory<T>& from, index_t n) {
    return {from.data(), {n}};
  }
  template <class T>
  [[nodiscard]] tensor_view<const T, 1> in_stream(const memory<T>& from) const {
    return constant(from, rows_).rows(first_, stream_rows());
  }
  template <class T>
  static void copy(const X& exec, const std::vector<T>& from, memory<T>& to);
  index_t rows_ = 0;
  index_t first_ = 0;
  index_t segment_count_ = 0;
  std::vector<std::int32_t> position_host_, segment_host_, read_rows_host_, identity_host_;
  memory<token_t> tokens_;
  memory<segment> segments_;
  memory<std::int32_t> position_, segment_of_, identity_, read_rows_, read_position_, read_place_;
};

template <executor X>
void device_batch<X>::load(const X& exec, const packing& batch, index_t vocabulary, index_t context,
                           index_t first) {
  require(!batch.empty() && !batch.reads.empty(), "forward: the batch is empty");
  for (const token_t t : batch.tokens) {
    require(t >= 0 && t < vocabulary, "forward: token ", t, " is outside the vocabulary of ",
            vocabulary);
  }
  require(batch.positions() <= context, "forward: a sequence of ", batch.positions(),
          " tokens is longer than the model's context of ", context);
  rows_ = batch.rows();
  first_ = first;
  position_host_.resize(batch.tokens.size());
  segment_host_.resize(batch.tokens.size());
  for (std::size_t s = 0; s < batch.segments.size(); ++s) {
    const segment& at = batch.segments[s];
    for (index_t i = 0; i < at.count; ++i) {
      const auto row = static_cast<std::size_t>(at.first + i);
      position_host_[row] = static_cast<std::int32_t>(at.position + i);
      segment_host_[row] = static_cast<std::int32_t>(s);
    }
  }
  // Several answers may be read from one row: its logits are computed once.
  read_rows_host_.clear();
  for (const token_read& r : batch.reads) {
    require(r.row >= first, "forward: row ", r.row, " is read, the stream begins at ", first);
    read_rows_host_.push_back(static_cast<std::int32_t>(r.row));
  }
  std::sort(read_rows_host_.begin(), read_rows_host_.end());
  read_rows_host_.erase(std::unique(read_rows_host_.begin(), read_rows_host_.end()),
                        read_rows_host_.end());
  identity_host_.resize(batch.tokens.size());
  for (std::size_t i = 0; i < identity_host_.size(); ++i) {
    identity_host_[i] = static_cast<std::int32_t>(i);
  }
  copy(exec, batch.tokens, tokens_);
  copy(exec, batch.segments, segments_);
  copy(exec, position_host_, position_);
  copy(exec, segment_host_, segment_of_);
  copy(exec, identity_host_, identity_);
  copy(exec, read_rows_host_, read_rows_);
  segment_count_ = static_cast<index_t>(batch.segments.size());
  // What follows is about the read rows: their positions, and their places in the stream.
  std::vector<std::int32_t>& scratch = identity_host_;  // no longer needed on the host
  scratch.clear();
  for (const std::int32_t row : read_rows_host_) {
    scratch.push_back(position_host_[static_cast<std::size_t>(row)]);
  }
  copy(exec, scratch, read_position_);
  scratch.clear();
  for (const std::int32_t row : read_rows_host_) {
    scratch.push_back(row - static_cast<std::int32_t>(first));
  }
  copy(exec, scratch, read_place_);
}

template <executor X>
index_t device_batch<X>::read_place(index_t row) const {
  const auto at = std::lower_bound(read_rows_host_.begin(), read_rows_host_.end(), row);
  return at - read_rows_host_.begin();
}

template <executor X>
index_t device_batch<X>::byte_count() const {
  return tokens_.byte_count() + segments_.byte_count() + position_.byte_count() +
         segment_of_.byte_count() + identity_.byte_count() + read_rows_.byte_count() +
         read_position_.byte_count() + read_place_.byte_count();
}

template <executor X>
template <class T>
void device_batch<X>::copy(const X& exec, const std::vector<T>& from, memory<T>& to) {
  to.reserve(static_cast<index_t>(from.size()));
  exec.upload(from.data(), static_cast<index_t>(from.size()), to.data());
}

}  // namespace zoq
