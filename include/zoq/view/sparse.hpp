// sparse_view: k float offsets beside an unchanged quantised base, at the places of a mask.
//
//     auto view = zoq::sparse_view(exec, model.tensors(), mask);
//     view.values();      // [k] offsets from the decoded base, zero at first
//     view.to_delta();    // places and values, on the host
//
// The weight in use is decode(W) + offset. Offsets start at zero, so the first step starts from the
// quantised model to the bit. Memory: 8 bytes a value for its place, 4 for itself, 4 for each
// branch. Method: "Zeroth-Order Fine-Tuning of LLMs with Extreme Sparsity", arXiv 2406.02913.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/core/function_ref.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/ops/tensors.hpp"
#include "zoq/sparse/delta.hpp"
#include "zoq/sparse/mask.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/view/laid_out.hpp"
#include "zoq/view/layout.hpp"
#include "zoq/view/target.hpp"
#include "zoq/view/value_blocks.hpp"

namespace zoq {

/// Each matrix of a mask as one row of values, in the mask's order: what a replay needs to know.
std::vector<extent> extents_of(const mask& places);

/// In text: `sparse` or `sparse:by_place=true`.
struct sparse_settings {
  static constexpr std::string_view name = "sparse";
  static constexpr std::string_view summary = "an offset on each entry of a mask";
  static constexpr std::string_view paper = "arXiv 2406.02913";
  static constexpr std::string_view cost = "12 bytes a value, 4 more for each branch";
  static constexpr bool tunes_places = true;   // view_traits: needs a mask
  static constexpr bool has_matrices = false;  // view_traits: a tensor's values are one row
  /// Whether a value's element of a direction is its weight's number in the model, so that two
  /// masks move the places that they share alike. 8 bytes a value.
  bool by_place = false;

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("by_place", self.by_place);
  }
};

namespace detail {

/// The target's mask. Throws, naming the view, when it has none.
const mask& mask_of(const view_target& target, std::string_view view);

/// A sparse_layout as far as it depends on no executor.
struct sparse_places {
  /// Takes a tensor's rows and columns, for the values from `first` on.
  using take_places = function_ref<void(std::span<const std::int32_t> row,
                                        std::span<const std::int32_t> column, index_t first)>;
  struct tuned_matrix {
    index_t number;  // of the tensor in the model
    std::string name;
    index_t rows, columns;
  };

  std::string model_hash;
  std::map<std::string, std::string> about;
  value_blocks blocks{};
  std::vector<tuned_matrix> tuned{};  // in the order of the mask
  index_t tensors;

  /// Of this model and origin. Throws when the mask is not valid.
  sparse_places(const mask& whole, index_t model_tensors);
  /// Entries in tensors of the selection.
  [[nodiscard]] static index_t count_of(const mask& whole, const tensor_selection& selection);
  /// See sparse_layout.
  void add(std::span<const model_tensor> model, const mask& whole,
           const tensor_selection& selection, bool by_place, take_places take);
  void hand_out(const std::int32_t* row, const std::int32_t* column, const part_values& values,
                handed_parts& out) const;
  [[nodiscard]] mask places(std::span<const std::int32_t> row,
                            std::span<const std::int32_t> column) const;
};

}  // namespace detail

/// An offset at each place of a mask. Places lie in the executor's memory.
template <executor X>
class sparse_layout {
 public:
  static constexpr std::string_view name = sparse_settings::name;

  /// Of the target's places. Throws when it has none, and as below.
  sparse_layout(const X& exec, const view_target& target, const sparse_settings& how = {});

  /// Throws when the mask names a tensor that the model does not have, one of another shape, or one
  /// that is not a linear layer's matrix; and when the mask is not valid. Of the places, those in
  /// tensors of `selection` are tuned; the others leave their numbers free.
  sparse_layout(const X& exec, std::span<const model_tensor> tensors, const mask& whole,
                const tensor_selection& selection = {}, const sparse_settings& how = {});

  /// Each tensor's values are one row; order of the mask.
  [[nodiscard]] const value_blocks& blocks() const { return at_.blocks; }
  [[nodiscard]] index_t tensors() const { return at_.tensors; }

  /// At the base: all zero.
  void start(const X&, tensor_view<float, 1>) const {}

  void hand_out(const X&, const part_values& values, handed_parts& out);

  /// The places, with the mask's model and origin, copied to the host.
  [[nodiscard]] mask places(const X& exec) const;
  /// The places with these values [k], on the host.
  [[nodiscard]] delta to_delta(const X& exec, std::vector<float> values) const;

  /// Bytes of places.
  [[nodiscard]] index_t byte_count() const { return rows_.byte_count() + columns_.byte_count(); }

 private:
  detail::sparse_places at_;
  buffer<std::int32_t, typename X::space> rows_, columns_;  // [k]
};

template <executor X>
sparse_layout<X>::sparse_layout(const X& exec, const view_target& target,
                                const sparse_settings& how)
    : sparse_layout(exec, target.tensors, detail::mask_of(target, name), target.selection, how) {}

template <executor X>
sparse_layout<X>::sparse_layout(const X& exec, std::span<const model_tensor> tensors,
                                const mask& whole, const tensor_selection& selection,
                                const sparse_settings& how)
    : at_(whole, static_cast<index_t>(tensors.size())) {
  const index_t count = at_.count_of(whole, selection);
  rows_ = exec.template allocate<std::int32_t>(count);
  columns_ = exec.template allocate<std::int32_t>(count);
  at_.add(
      tensors, whole, selection, how.by_place,
      [&](std::span<const std::int32_t> row, std::span<const std::int32_t> column, index_t first) {
        const auto n = static_cast<index_t>(row.size());
        exec.upload(row.data(), n, rows_.data() + first);
        exec.upload(column.data(), n, columns_.data() + first);
      });
}

template <executor X>
void sparse_layout<X>::hand_out(const X&, const part_values& values, handed_parts& out) {
  at_.hand_out(rows_.data(), columns_.data(), values, out);
}

template <executor X>
mask sparse_layout<X>::places(const X& exec) const {
  std::vector<std::int32_t> row(static_cast<std::size_t>(rows_.size())), column(row.size());
  exec.download(rows_.data(), rows_.size(), row.data());
  exec.download(columns_.data(), columns_.size(), column.data());
  return at_.places(row, column);
}

template <executor X>
delta sparse_layout<X>::to_delta(const X& exec, std::vector<float> values) const {
  return {places(exec), std::move(values)};
}

/// Views `tensors` at the places of `places`, at the unchanged base. Throws on a mask that does not
/// fit; see sparse_layout. Keeps a reference to the executor.
template <executor X>
laid_out_view<X, sparse_layout<X>> sparse_view(const X& exec, std::span<const model_tensor> tensors,
                                               const mask& places) {
  return {exec, sparse_layout<X>(exec, tensors, places)};
}

/// The same, at the values of `start`. Throws when there is not one for each place.
template <executor X>
laid_out_view<X, sparse_layout<X>> sparse_view(const X& exec, std::span<const model_tensor> tensors,
                                               const delta& start) {
  laid_out_view<X, sparse_layout<X>> out(exec, sparse_layout<X>(exec, tensors, start.places));
  const index_t k = out.values().shape[0];
  require(static_cast<index_t>(start.values.size()) == k, "delta: ", start.values.size(),
          " values for ", k, " places");
  exec.upload(start.values.data(), k, out.values().data);
  return out;
}

}  // namespace zoq

#if ZOQ_BODIES

namespace zoq {

ZOQ_BODY std::vector<extent> extents_of(const mask& places) {
  std::vector<extent> out;
  index_t first = 0;
  for (const tensor_mask& m : places.tensors) {
    out.push_back({first, 1, static_cast<index_t>(m.index.size())});
    first += out.back().columns;
  }
  return out;
}

namespace detail {

ZOQ_BODY const mask& mask_of(const view_target& target, std::string_view view) {
  require(target.places != nullptr, view, ": needs a mask");
  return *target.places;
}

// Weights of the tensors before this one.
ZOQ_BODY index_t weights_before(std::span<const model_tensor> tensors, index_t number) {
  index_t n = 0;
  for (const model_tensor& t : tensors.first(static_cast<std::size_t>(number))) {
    n += t.weight.rows() * t.weight.columns();
  }
  return n;
}

ZOQ_BODY sparse_places::sparse_places(const mask& whole, index_t model_tensors)
    : model_hash(whole.model_hash), about(whole.about), tensors(model_tensors) {
  whole.validate();
}

ZOQ_BODY index_t sparse_places::count_of(const mask& whole, const tensor_selection& selection) {
  return restricted(whole, selection).count();
}

ZOQ_BODY void sparse_places::add(std::span<const model_tensor> model, const mask& whole,
                                 const tensor_selection& selection, bool by_place,
                                 take_places take) {
  std::vector<std::int32_t> row, column;
  index_t first = 0;
  for (const tensor_mask& m : whole.tensors) {
    if (!selection.holds(m.tensor)) {
      blocks.skip(static_cast<index_t>(m.index.size()));
      continue;
    }
    const index_t number = find_tensor(model, m.tensor);
    require(number >= 0, "mask: the model has no tensor ", m.tensor);
    const model_tensor& t = model[static_cast<std::size_t>(number)];
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
    take(row, column, first);
    tuned.push_back({number, m.tensor, m.rows, m.columns});
    blocks.add(m.tensor + ".offset", 1, n);
    if (by_place) {
      std::vector<index_t> numbers(m.index.begin(), m.index.end());
      for (index_t& one : numbers) {
        one += weights_before(model, number);
      }
      blocks.number_last(numbers);
    }
    first += n;
  }
}

ZOQ_BODY void sparse_places::hand_out(const std::int32_t* row, const std::int32_t* column,
                                      const part_values& values, handed_parts& out) const {
  for (std::size_t t = 0; t < tuned.size(); ++t) {
    const extent& e = blocks.extents()[t];
    out.tensor[static_cast<std::size_t>(tuned[t].number)].sparse =
        sparse_part{{row + e.first, {e.columns}},
                    {column + e.first, {e.columns}},
                    values.all,
                    values.first + e.first};
  }
}

ZOQ_BODY mask sparse_places::places(std::span<const std::int32_t> row,
                                    std::span<const std::int32_t> column) const {
  mask out{{}, model_hash, about};
  for (std::size_t t = 0; t < tuned.size(); ++t) {
    tensor_mask m{tuned[t].name, tuned[t].rows, tuned[t].columns, {}};
    const extent& e = blocks.extents()[t];
    const auto first = static_cast<std::size_t>(e.first);
    for (std::size_t i = first; i < first + static_cast<std::size_t>(e.columns); ++i) {
      m.index.push_back(static_cast<std::int32_t>(row[i] * m.columns + column[i]));
    }
    out.tensors.push_back(std::move(m));
  }
  return out;
}

}  // namespace detail

}  // namespace zoq

#endif
