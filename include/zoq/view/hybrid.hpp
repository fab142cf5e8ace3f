// hybrid: sparse offsets in matrices of few sensitive entries, low-rank products beside those of many.
//
//     zoq::hybrid_layout<zoq::cpu> layout(exec, target, {.rank = 4});     // needs target.places
//
// A matrix gets LoRA when its mask has more than `threshold` entries; 0 stands for as many as LoRA itself
// would tune, R (C + O). SPT: He et al., "Sensitivity-Aware Visual Parameter-Efficient Fine-Tuning",
// arXiv 2303.08566.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/ops/tensors.hpp"
#include "zoq/sparse/mask.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"
#include "zoq/view/joined.hpp"
#include "zoq/view/layout.hpp"
#include "zoq/view/lora.hpp"
#include "zoq/view/sparse.hpp"
#include "zoq/view/target.hpp"
#include "zoq/view/value_blocks.hpp"

namespace zoq {

/// In text: `hybrid:rank=8,threshold=500`.
struct hybrid_settings {
  static constexpr std::string_view name = "hybrid";
  static constexpr std::string_view summary =
      "sparse where few entries are sensitive, LoRA where many are";
  static constexpr std::string_view paper = "arXiv 2303.08566";
  static constexpr std::string_view cost =
      "12 bytes a sparse value, 4 a value of R (C + O), 4 more for each branch";
  static constexpr bool tunes_places = true;  // view_traits: needs a mask
  index_t rank = 4;                           // R of the matrices of many entries
  double alpha = 8;                           // their products are scaled by alpha / rank
  std::uint64_t seed = 0;                     // of their factors A
  index_t threshold = 0;                      // entries; 0: as many as LoRA's values

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("rank", self.rank);
    f("alpha", self.alpha);
    f("seed", self.seed);
    f("threshold", self.threshold);
  }
};

namespace detail {
/// The matrices of few entries, and those of many.
struct hybrid_masks {
  mask few, many;
};
hybrid_masks parted(const view_target& target, const hybrid_settings& how);
/// The numbers of the mask's tensors.
std::vector<index_t> numbers_of(const view_target& target, const mask& places);
/// The tensors of `more` behind those of `first`.
mask with_more(mask first, const mask& more);
}  // namespace detail

/// Values of a sparse_layout for matrices of few entries; behind them, those of a lora_layout.
template <executor X>
class hybrid_layout {
 public:
  static constexpr std::string_view name = hybrid_settings::name;

  /// Throws when the target has no mask, on a rank that is not positive, and as sparse_layout does.
  hybrid_layout(const X& exec, const view_target& target, const hybrid_settings& how);

  [[nodiscard]] const value_blocks& blocks() const { return both_.blocks(); }
  [[nodiscard]] index_t tensors() const { return both_.tensors(); }
  void start(const X& exec, tensor_view<float, 1> values) const { both_.start(exec, values); }
  void hand_out(const X& exec, const part_values& values, handed_parts& out) {
    both_.hand_out(exec, values, out);
  }
  [[nodiscard]] index_t byte_count() const { return both_.byte_count(); }
  /// The whole mask: the matrices of few entries first.
  [[nodiscard]] mask places(const X& exec) const;

 private:
  hybrid_layout(const X& exec, const view_target& target, const hybrid_settings& how,
                detail::hybrid_masks of);

  joined<X, sparse_layout<X>, lora_layout<X>> both_;
  mask many_;  // on the host
};

template <executor X>
hybrid_layout<X>::hybrid_layout(const X& exec, const view_target& target,
                                const hybrid_settings& how)
    : hybrid_layout(exec, target, how, detail::parted(target, how)) {}

template <executor X>
mask hybrid_layout<X>::places(const X& exec) const {
  return detail::with_more(both_.first().places(exec), many_);
}

template <executor X>
hybrid_layout<X>::hybrid_layout(const X& exec, const view_target& target,
                                const hybrid_settings& how, detail::hybrid_masks of)
    : both_(sparse_layout<X>(exec, target.tensors, of.few),
            lora_layout<X>(exec, target.tensors, detail::numbers_of(target, of.many),
                           {how.rank, how.alpha, how.seed})),
      many_(std::move(of.many)) {}

}  // namespace zoq

#if ZOQ_BODIES

namespace zoq {

namespace detail {

ZOQ_BODY hybrid_masks parted(const view_target& target, const hybrid_settings& how) {
  require_size(hybrid_settings::name, "rank", how.rank);
  const mask& places = mask_of(target, hybrid_settings::name);
  places.validate();
  const mask all = restricted(places, target.selection);
  hybrid_masks out{{{}, all.model_hash, all.about}, {}};
  for (const tensor_mask& t : all.tensors) {
    const index_t limit = how.threshold > 0 ? how.threshold : how.rank * (t.rows + t.columns);
    (static_cast<index_t>(t.index.size()) > limit ? out.many : out.few).tensors.push_back(t);
  }
  return out;
}

ZOQ_BODY std::vector<index_t> numbers_of(const view_target& target, const mask& places) {
  std::vector<index_t> out;
  for (const tensor_mask& t : places.tensors) {
    const index_t number = find_tensor(target.tensors, t.tensor);
    require(number >= 0, "mask: the model has no tensor ", t.tensor);
    require(target.tensors[static_cast<std::size_t>(number)].role == tensor_role::linear,
            "mask: ", t.tensor, " is not the matrix of a linear layer");
    out.push_back(number);
  }
  return out;
}

ZOQ_BODY mask with_more(mask first, const mask& more) {
  first.tensors.insert(first.tensors.end(), more.tensors.begin(), more.tensors.end());
  return first;
}

}  // namespace detail

}  // namespace zoq

#endif
