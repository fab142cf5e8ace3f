// sparse_view: k float offsets beside an unchanged quantised base, at the places of a mask.
//
//     zoq::sparse_view view(exec, model.tensors(), mask);
//     view.values();      // [k] offsets from the decoded base, zero at first
//     view.to_delta();    // places and values, on the host
//
// The weight in use is decode(W) + offset. Offsets start at zero, so the first step starts from the
// quantised model to the bit. Memory: 8 bytes a value for its place, 4 for itself, 4 for each
// branch. Method: "Zeroth-Order Fine-Tuning of LLMs with Extreme Sparsity", arXiv 2406.02913.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/estimate/query.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/ops/tensors.hpp"
#include "zoq/random/directions.hpp"
#include "zoq/sparse/delta.hpp"
#include "zoq/sparse/mask.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/view/view.hpp"

namespace zoq {

/// Four values of one branch: out = origin + scale * shape * z, in double, rounded once.
template <field Field>
struct move_block {
  Field z;
  double scale;
  const float* shape;   // [k] or null
  const float* origin;  // [k]
  float* out;           // [k]
  index_t count;        // k

  ZOQ_HD void operator()(index_t block) const {
    const float4v noise = z.four(block);
    const index_t first = 4 * block;
    for (index_t j = 0; j < 4 && first + j < count; ++j) {
      const index_t i = first + j;
      const double step = scale * (shape == nullptr ? 1.0 : static_cast<double>(shape[i]));
      out[i] = static_cast<float>(static_cast<double>(origin[i]) +
                                  step * static_cast<double>(noise.at[j]));
    }
  }
};

/// Each matrix of a mask as one row of values, in the mask's order: what a replay needs to know.
inline std::vector<extent> extents_of(const mask& places) {
  std::vector<extent> out;
  index_t first = 0;
  for (const tensor_mask& m : places.tensors) {
    out.push_back({first, 1, static_cast<index_t>(m.index.size())});
    first += out.back().columns;
  }
  return out;
}

template <executor X>
class sparse_view {
 public:
  static constexpr std::string_view name = "sparse";

  /// Views `tensors` at the places of `places`. Throws when the mask names a tensor that the model
  /// does not have, one of another shape, or one that is not a linear layer's matrix; and when the
  /// mask is not valid.
  /// Keeps a reference to the executor. Starts at the unchanged base.
  sparse_view(const X& exec, std::span<const model_tensor> tensors, const mask& places)
      : exec_(exec),
        model_hash_(places.model_hash),
        about_(places.about),
        extents_(extents_of(places)),
        parts_(tensors.size()) {
    places.validate();
    const index_t count = places.count();
    rows_ = exec.template allocate<std::int32_t>(count);
    columns_ = exec.template allocate<std::int32_t>(count);
    values_ = exec.template allocate<float>(count);
    std::vector<std::int32_t> row, column;
    index_t first = 0;
    for (const tensor_mask& m : places.tensors) {
      const index_t number = find_tensor(tensors, m.tensor);
      require(number >= 0, "mask: the model has no tensor ", m.tensor);
      const model_tensor& t = tensors[static_cast<std::size_t>(number)];
      require(t.role == tensor_role::linear, "mask: ", m.tensor,
              " is not the matrix of a linear layer");
      require(t.weight.rows() == m.rows && t.weight.columns() == m.columns, "mask: ", m.tensor,
              " is ", m.rows, " x ", m.columns, ", the model's is ", t.weight.rows(), " x ",
              t.weight.columns());
      const auto n = static_cast<index_t>(m.index.size());
      row.clear();
      column.clear();
      for (const auto i : m.index) {
        row.push_back(static_cast<std::int32_t>(i / m.columns));
        column.push_back(static_cast<std::int32_t>(i % m.columns));
      }
      exec.upload(row.data(), n, rows_.data() + first);
      exec.upload(column.data(), n, columns_.data() + first);
      tuned_.push_back({number, m.tensor, m.rows, m.columns});
      first += n;
    }
    move_to_values(exec);
  }

  /// The same, starting at the values of `start`. Throws when there is not one for each place.
  sparse_view(const X& exec, std::span<const model_tensor> tensors, const delta& start)
      : sparse_view(exec, tensors, start.places) {
    require(static_cast<index_t>(start.values.size()) == values_.size(),
            "delta: ", start.values.size(), " values for ", values_.size(), " places");
    exec.upload(start.values.data(), values_.size(), values_.data());
  }

  /// Each tensor's values are one row; order of the mask.
  [[nodiscard]] value_order order() const {
    return {extents_.data(), static_cast<index_t>(extents_.size()), values_.size()};
  }
  [[nodiscard]] tensor_view<float, 1> values() { return values_.view(values_.size()); }
  [[nodiscard]] tensor_view<const float, 1> values() const { return values_.view(values_.size()); }

  /// Moves branch b to query b's point. Cost: k directions a query.
  void move_to(const X& exec, const any_direction& direction, std::span<const query> asked) {
    require(!asked.empty(), "sparse_view: no branch to move to");
    const auto branches = static_cast<index_t>(asked.size());
    const index_t k = values_.size();
    moved_.reserve(branches * k);
    for (index_t b = 0; b < branches; ++b) {
      const query& q = asked[static_cast<std::size_t>(b)];
      const float* origin = q.origin == nullptr ? values_.data() : q.origin;
      float* out = moved_.data() + b * k;
      std::visit(
          [&](const auto& z) {
            const auto field = z.at(q.seed, order());
            exec.for_each((k + 3) / 4, move_block<std::decay_t<decltype(field)>>{
                                           field, q.scale, q.shape, origin, out, k});
          },
          direction);
    }
    hand_out(moved_.data(), branches);
    pairs_ = branches % 2 == 0;
    for (std::size_t b = 0; pairs_ && b < asked.size(); b += 2) {
      pairs_ = opposite(asked[b], asked[b + 1]);
    }
  }

  /// One branch: the values as they are.
  void move_to_values(const X&) { hand_out(values_.data(), 1); }

  [[nodiscard]] branch_parts branches() const { return {branches_, parts_, pairs_}; }

  /// The places, with the mask's model and origin, and the values, copied to the host.
  [[nodiscard]] delta to_delta() const {
    const auto host = [&]<class T>(const memory<T>& from) {
      std::vector<T> out(static_cast<std::size_t>(from.size()));
      exec_.download(from.data(), from.size(), out.data());
      return out;
    };
    const std::vector<std::int32_t> row = host(rows_), column = host(columns_);
    delta out{{{}, model_hash_, about_}, host(values_)};
    for (std::size_t t = 0; t < tuned_.size(); ++t) {
      tensor_mask m{tuned_[t].name, tuned_[t].rows, tuned_[t].columns, {}};
      const auto first = static_cast<std::size_t>(extents_[t].first);
      for (std::size_t i = first; i < first + static_cast<std::size_t>(extents_[t].columns); ++i) {
        m.index.push_back(static_cast<std::int32_t>(row[i] * m.columns + column[i]));
      }
      out.places.tensors.push_back(std::move(m));
    }
    return out;
  }

  /// Bytes of places, values and branches.
  [[nodiscard]] index_t byte_count() const {
    return rows_.byte_count() + columns_.byte_count() + values_.byte_count() + moved_.byte_count();
  }

 private:
  void hand_out(const float* values, index_t branches) {
    branches_ = branches;
    pairs_ = false;
    for (std::size_t t = 0; t < tuned_.size(); ++t) {
      const auto [first, rows, n] = extents_[t];
      parts_[static_cast<std::size_t>(tuned_[t].number)].sparse =
          sparse_part{{rows_.data() + first, {n}},
                      {columns_.data() + first, {n}},
                      {values, {branches, values_.size()}},
                      first};
    }
  }

  struct tuned_matrix {
    index_t number;  // of the tensor in the model
    std::string name;
    index_t rows, columns;
  };
  template <class T>
  using memory = buffer<T, typename X::space>;

  const X& exec_;
  std::string model_hash_;
  std::map<std::string, std::string> about_;
  std::vector<extent> extents_;
  memory<std::int32_t> rows_, columns_;  // [k]
  memory<float> values_;                 // [k] offsets from the base
  memory<float> moved_;                  // [branches, k]
  std::vector<tuned_matrix> tuned_;      // in the order of the mask
  std::vector<parts> parts_;             // by tensor number
  index_t branches_ = 1;
  bool pairs_ = false;  // of opposite branches
};

}  // namespace zoq
