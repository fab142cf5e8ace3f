// How the k values of a layout fall into named matrices: for directions, optimizers and files.
//
//     zoq::value_blocks blocks;
//     index_t first = blocks.add("blk.0.attn_q.weight.lora_a", rank, columns);
//     blocks.order();     // extents of all, k
//
// Values that a selection leaves out are skipped, not forgotten: the others keep their numbers, and so
// their elements of every direction.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/random/direction.hpp"

namespace zoq {

class value_blocks {
 public:
  /// Returns the first value's place among all.
  index_t add(std::string name, index_t rows, index_t columns);
  /// All blocks of another, behind these.
  void add(const value_blocks& other);
  /// n values that are left out here.
  void skip(index_t n) { skipped_ += n; }
  /// Gives every value of the last block a number of its own. Either all blocks have them, or none.
  void number_last(std::span<const index_t> numbers);

  /// The element of a direction that each value takes, [k]; empty: its place among the values.
  [[nodiscard]] std::vector<index_t> numbers() const;

  [[nodiscard]] index_t size() const { return size_; }       // k
  [[nodiscard]] std::span<const extent> extents() const;     // one a block
  [[nodiscard]] std::span<const std::string> names() const;  // one a block
  /// Valid while this object, or what it is moved to, lives.
  [[nodiscard]] value_order order() const;

 private:
  std::vector<extent> extents_;
  std::vector<std::string> names_;
  std::vector<index_t> numbers_;  // of the first value of each block
  std::vector<index_t> own_;      // [k] or none
  index_t size_ = 0;
  index_t skipped_ = 0;
};

}  // namespace zoq

#if ZOQ_BODIES

#include <utility>

namespace zoq {

ZOQ_BODY index_t value_blocks::add(std::string name, index_t rows, index_t columns) {
  const index_t first = size_;
  extents_.push_back({first, rows, columns});
  numbers_.push_back(size_ + skipped_);
  names_.push_back(std::move(name));
  size_ += rows * columns;
  return first;
}

ZOQ_BODY void value_blocks::add(const value_blocks& other) {
  const index_t first = size_ + skipped_;
  for (std::size_t i = 0; i < other.extents_.size(); ++i) {
    skipped_ = first + other.numbers_[i] - size_;
    add(other.names_[i], other.extents_[i].rows, other.extents_[i].columns);
  }
  skipped_ = first + other.size_ + other.skipped_ - size_;
}

ZOQ_BODY void value_blocks::number_last(std::span<const index_t> numbers) {
  own_.insert(own_.end(), numbers.begin(), numbers.end());
}

ZOQ_BODY std::vector<index_t> value_blocks::numbers() const {
  if (skipped_ == 0 || !own_.empty()) {
    return own_;
  }
  std::vector<index_t> out;
  for (std::size_t i = 0; i < extents_.size(); ++i) {
    for (index_t j = 0; j < extents_[i].rows * extents_[i].columns; ++j) {
      out.push_back(numbers_[i] + j);
    }
  }
  return out;
}

ZOQ_BODY std::span<const extent> value_blocks::extents() const { return extents_; }

ZOQ_BODY std::span<const std::string> value_blocks::names() const { return names_; }

ZOQ_BODY value_order value_blocks::order() const {
  return {extents_.data(), static_cast<index_t>(extents_.size()), size_};
}

}  // namespace zoq

#endif
