// What a view's layout is made for: the tensors of a model, which of them are tuned, and what some
// layouts need beside them.
//
//     zoq::view_target target{.tensors = model.tensors(), .selection = zoq::select("4-11", "ffn_gate")};
//     target.selection.holds("blk.3.ffn_down.weight");     // false
//     zoq::mask part = zoq::restricted(mask, target.selection);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/ops/tensors.hpp"
#include "zoq/sparse/mask.hpp"

namespace zoq {

/// Tensors of some layers, without those whose names hold one of a few texts. A range of layers leaves
/// out what belongs to no layer: embedding, head and last norm.
struct tensor_selection {
  index_t first_layer = 0;             // from 0
  index_t last_layer = -1;             // -1: the last one there is
  std::vector<std::string> exclude{};  // parts of names

  /// Whether there is no range: tensors of no layer are held too.
  [[nodiscard]] bool every_layer() const { return first_layer <= 0 && last_layer < 0; }
  /// Whether the tensor of this name is one of them.
  [[nodiscard]] bool holds(std::string_view tensor) const;
  /// As `select` reads it: "4-11", or nothing.
  [[nodiscard]] std::string layers_text() const;
  /// As `select` reads it: parts of names, by commas.
  [[nodiscard]] std::string exclude_text() const;
};

/// layers: "4-11", "4-" or "4", all of them when empty; exclude: parts of names, by commas. Throws,
/// naming the text, when that is no range.
tensor_selection select(std::string_view layers, std::string_view exclude = {});

/// Throws, naming the view's setting, unless it is from 1 to `most`: with that bound products of sizes stay
/// far from where an index_t ends.
void require_size(std::string_view view, std::string_view setting, index_t n,
                  index_t most = index_t{1} << 20);

/// A mask's matrices that are selected.
mask restricted(const mask& places, const tensor_selection& selection);

/// What a layout reads when it is made. Owns no tensors and no mask.
struct view_target {
  std::span<const model_tensor> tensors;  // valid while a layout is made
  tensor_selection selection = {};        // of the tensors; all at first
  const mask* places = nullptr;           // of a sparse or hybrid view
  std::vector<token_t> tokens = {};       // that a prompt begins as; none: random ones
  std::vector<index_t> key_columns = {};  // K * D of every layer, of a prefix

  /// Throws, naming `view`, when no matrix of a linear layer is selected.
  void require_linear(std::string_view view) const;
  /// The table of token embeddings. Throws, naming `view`, when there is none.
  [[nodiscard]] const model_tensor& embedding(std::string_view view) const;
};

}  // namespace zoq

#if ZOQ_BODIES

#include <charconv>
#include <cstddef>

#include "zoq/core/error.hpp"

namespace zoq {

ZOQ_BODY bool tensor_selection::holds(std::string_view tensor) const {
  for (const std::string& part : exclude) {
    if (tensor.find(part) != tensor.npos) {
      return false;
    }
  }
  const index_t layer = layer_of(tensor);
  return every_layer() || (layer >= first_layer && (last_layer < 0 || layer <= last_layer));
}

ZOQ_BODY std::string tensor_selection::layers_text() const {
  return every_layer()    ? std::string()
         : last_layer < 0 ? text(first_layer, "-")
                          : text(first_layer, "-", last_layer);
}

ZOQ_BODY std::string tensor_selection::exclude_text() const {
  std::string out;
  for (const std::string& part : exclude) {
    out += (out.empty() ? "" : ",") + part;
  }
  return out;
}

ZOQ_BODY tensor_selection select(std::string_view layers, std::string_view exclude) {
  tensor_selection out;
  if (!layers.empty()) {
    const std::size_t dash = layers.find('-');
    const auto number = [&](std::string_view from, index_t& to) {
      const auto [end, wrong] = std::from_chars(from.data(), from.data() + from.size(), to);
      require(wrong == std::errc() && end == from.data() + from.size() && to >= 0, "layers \"",
              layers, "\": wanted \"FIRST-LAST\", \"FIRST-\" or one number");
    };
    number(layers.substr(0, dash), out.first_layer);
    if (dash == layers.npos) {
      out.last_layer = out.first_layer;
    } else if (dash + 1 < layers.size()) {
      number(layers.substr(dash + 1), out.last_layer);
      require(out.last_layer >= out.first_layer, "layers \"", layers,
              "\": the last is before the first");
    }
  }
  while (!exclude.empty()) {
    require(out.exclude.size() < 1024, "exclude: more than 1,024 parts of names");
    const std::size_t comma = exclude.find(',');
    if (comma != 0) {
      out.exclude.emplace_back(exclude.substr(0, comma));
    }
    exclude = comma == exclude.npos ? std::string_view() : exclude.substr(comma + 1);
  }
  return out;
}

ZOQ_BODY void require_size(std::string_view view, std::string_view setting, index_t n,
                           index_t most) {
  require(n > 0 && n <= most, view, ": ", setting, " is ", n, ", wanted 1 to ", most);
}

ZOQ_BODY mask restricted(const mask& places, const tensor_selection& selection) {
  mask out{{}, places.model_hash, places.about};
  for (const tensor_mask& t : places.tensors) {
    if (selection.holds(t.tensor)) {
      out.tensors.push_back(t);
    }
  }
  return out;
}

ZOQ_BODY void view_target::require_linear(std::string_view view) const {
  for (const model_tensor& t : tensors) {
    if (t.role == tensor_role::linear && selection.holds(t.name)) {
      return;
    }
  }
  fail(view, ": no matrix of a linear layer is selected (layers \"", selection.layers_text(),
       "\", exclude \"", selection.exclude_text(), "\")");
}

ZOQ_BODY const model_tensor& view_target::embedding(std::string_view view) const {
  for (const model_tensor& t : tensors) {
    if (t.role == tensor_role::embedding) {
      return t;
    }
  }
  fail(view, ": the model has no embedding");
}

}  // namespace zoq

#endif
