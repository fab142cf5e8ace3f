// The tensors of a model by number: what views, masks and scores speak of.
//
//     for (const zoq::model_tensor& t : model.tensors()) { t.name; t.weight.rows(); t.role; }
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/quant/formats.hpp"

namespace zoq {

/// What a tensor is for. Scores and most views take `linear` alone.
enum class tensor_role { embedding, position, norm, bias, linear, head };
/// Each once.
inline constexpr tensor_role all_roles[] = {tensor_role::embedding, tensor_role::position,
                                            tensor_role::norm,      tensor_role::bias,
                                            tensor_role::linear,    tensor_role::head};

/// "linear" of tensor_role::linear.
constexpr std::string_view name_of(tensor_role role) {
  switch (role) {
    case tensor_role::embedding:
      return "embedding";
    case tensor_role::position:
      return "position";
    case tensor_role::norm:
      return "norm";
    case tensor_role::bias:
      return "bias";
    case tensor_role::linear:
      return "linear";
    case tensor_role::head:
      return "head";
  }
  return "";
}

/// A tensor where it lies: the weight is a view.
struct model_tensor {
  std::string name;                        // as in the file: "blk.3.ffn_down.weight"
  any_packed weight;                       // [O, C]; a norm's gain or a bias is [1, C]
  tensor_role role = tensor_role::linear;  // what it is for
};

/// The number of the tensor of this name, or -1.
index_t find_tensor(std::span<const model_tensor> tensors, std::string_view name);

/// The layer that a tensor belongs to by its name, 3 for "blk.3.ffn_down.weight"; -1 for none.
index_t layer_of(std::string_view name);

/// Matrices of linear layers.
index_t linear_matrices(std::span<const model_tensor> tensors);

/// Weights in the matrices of linear layers.
index_t linear_weights(std::span<const model_tensor> tensors);

/// Names a model by its contents: names, shapes, formats and bytes. Reads every byte once.
std::string hash_of(std::span<const model_tensor> tensors);

}  // namespace zoq

#if ZOQ_BODIES

#include "zoq/core/hash.hpp"

namespace zoq {

ZOQ_BODY index_t find_tensor(std::span<const model_tensor> tensors, std::string_view name) {
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].name == name) {
      return static_cast<index_t>(i);
    }
  }
  return -1;
}

ZOQ_BODY index_t layer_of(std::string_view name) {
  if (!name.starts_with("blk.")) {
    return -1;
  }
  index_t layer = 0;
  std::size_t at = 4;
  for (; at < name.size() && name[at] >= '0' && name[at] <= '9' && layer < (index_t{1} << 32);
       ++at) {
    layer = 10 * layer + (name[at] - '0');
  }
  return at > 4 && at < name.size() && name[at] == '.' ? layer : -1;
}

ZOQ_BODY index_t linear_matrices(std::span<const model_tensor> tensors) {
  index_t n = 0;
  for (const model_tensor& t : tensors) {
    n += t.role == tensor_role::linear ? 1 : 0;
  }
  return n;
}

ZOQ_BODY index_t linear_weights(std::span<const model_tensor> tensors) {
  index_t n = 0;
  for (const model_tensor& t : tensors) {
    n += t.role == tensor_role::linear ? t.weight.rows() * t.weight.columns() : 0;
  }
  return n;
}

ZOQ_BODY std::string hash_of(std::span<const model_tensor> tensors) {
  content_hash h;
  for (const model_tensor& t : tensors) {
    h.add(t.name).add(t.weight.format().name);
    h.add(static_cast<std::uint64_t>(t.weight.rows()));
    h.add(static_cast<std::uint64_t>(t.weight.columns()));
    const index_t in_rows = t.weight.rows() * t.weight.format().row_bytes;
    h.add({t.weight.bytes(), static_cast<std::size_t>(t.weight.byte_count() - in_rows)});
    if (in_rows > 0) {
      h.add({t.weight.row_data(), static_cast<std::size_t>(in_rows)});
    }
  }
  return h.hex();
}

}  // namespace zoq

#endif
