// dense: an offset on every weight of the selected tensors, of whatever role: full zeroth-order tuning.
//
//     zoq::dense_layout<zoq::cpu> layout(exec, target, {.roles = "linear+norm"});
//
// W_b = decode(W) + offset_b; offsets start at zero, at the model to the bit. For weights in float
// formats only: beside packed ones, k floats would take many times the model's own memory. Method:
// MeZO, "Fine-Tuning Language Models with Just Forward Passes", arXiv 2305.17333.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/ops/tensors.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/view/layout.hpp"
#include "zoq/view/target.hpp"
#include "zoq/view/value_blocks.hpp"

namespace zoq {

/// In text: `dense:roles=linear+norm`.
struct dense_settings {
  static constexpr std::string_view name = "dense";
  static constexpr std::string_view summary = "an offset on every weight of a float model";
  static constexpr std::string_view paper = "arXiv 2305.17333";
  static constexpr std::string_view cost =
      "4 bytes a weight for its offset, 4 more for each branch, 4 for the estimate; each branch "
      "decodes and multiplies weights of its own";
  std::string roles = "all";  // or some of linear, embedding, position, norm, bias, head, by "+"

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("roles", self.roles);
  }
  /// Whether tensors of this role are tuned.
  [[nodiscard]] bool holds(tensor_role role) const;
};

/// An offset on every weight of the selected tensors, in the order of the model.
template <executor X>
class dense_layout {
 public:
  static constexpr std::string_view name = dense_settings::name;

  /// Throws, naming tensor and format, when a selected tensor is packed; when a role is not known; and
  /// when nothing is selected.
  dense_layout(const X&, const view_target& target, const dense_settings& how);

  [[nodiscard]] const value_blocks& blocks() const { return blocks_; }
  [[nodiscard]] index_t tensors() const { return tensors_; }
  void start(const X&, tensor_view<float, 1>) const {}
  void hand_out(const X&, const part_values& values, handed_parts& out);
  [[nodiscard]] static index_t byte_count() { return 0; }

 private:
  static void require_roles(std::string_view roles);

  struct tuned_tensor {
    index_t number, first;
  };
  value_blocks blocks_;
  std::vector<tuned_tensor> tuned_;
  index_t tensors_;
};

template <executor X>
dense_layout<X>::dense_layout(const X&, const view_target& target, const dense_settings& how)
    : tensors_(static_cast<index_t>(target.tensors.size())) {
  require_roles(how.roles);
  for (std::size_t i = 0; i < target.tensors.size(); ++i) {
    const model_tensor& t = target.tensors[i];
    if (!how.holds(t.role)) {
      continue;
    }
    if (!target.selection.holds(t.name)) {
      blocks_.skip(t.weight.rows() * t.weight.columns());
      continue;
    }
    require(t.weight.format().block_size == 1, "dense: ", t.name, " is ", t.weight.format().name,
            "; offsets of all weights need a model in f32, f16 or bf16. Of this one tune sparse, "
            "lora or scales, or other tensors (roles, layers, exclude)");
    tuned_.push_back({static_cast<index_t>(i),
                      blocks_.add(t.name + ".offset", t.weight.rows(), t.weight.columns())});
  }
  require(!tuned_.empty(), "dense: no tensor of roles \"", how.roles,
          "\" is selected; a head that is tied is the embedding's");
}

template <executor X>
void dense_layout<X>::hand_out(const X&, const part_values& values, handed_parts& out) {
  for (const auto& [number, first] : tuned_) {
    out.tensor[static_cast<std::size_t>(number)].offset = offset_part{values.from(first)};
  }
}

template <executor X>
void dense_layout<X>::require_roles(std::string_view roles) {
  for (std::string_view rest = roles; roles != "all";) {
    const std::size_t plus = rest.find('+');
    const std::string_view one = rest.substr(0, plus);
    bool known = false;
    for (const tensor_role role : all_roles) {
      known = known || one == name_of(role);
    }
    require(known, "dense: \"", one, "\" in roles \"", roles,
            "\" is none of linear, embedding, position, norm, bias, head, nor all");
    if (plus == rest.npos) {
      break;
    }
    rest = rest.substr(plus + 1);
  }
}

}  // namespace zoq

#if ZOQ_BODIES

#include <utility>

namespace zoq {

ZOQ_BODY bool dense_settings::holds(tensor_role role) const {
  const std::string list = "+" + roles + "+";
  return roles == "all" || list.find("+" + std::string(name_of(role)) + "+") != std::string::npos;
}

}  // namespace zoq

#endif
