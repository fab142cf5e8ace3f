// The tuned values of any view as a small file that goes with the unchanged model.
//
//     zoq::save_values("tuned.safetensors", exec, how, target, view, model_hash);
//     zoq::tuned_values t = zoq::read_values("tuned.safetensors");
//     auto same = zoq::view_of(exec, target_of_the_model, t);
//
// A sparse view is a delta (view/delta.hpp). Any other one: a tensor F32 [rows, columns] for each block of
// values, by its name; where it has a mask, "NAME.index" I32 [n] with "shape NAME" as in a mask's file;
// where it begins as given tokens, "tokens" I32. The metadata holds "format" = "zoq.values.1", "view" (name
// and settings), "model" (the base's hash), and "layers" and "exclude" where tensors were selected.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/sparse/delta.hpp"
#include "zoq/sparse/mask.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/view/layouts.hpp"

namespace zoq {

/// One block of values, on the host.
struct named_values {
  std::string name;
  index_t rows = 0,           // of the block
      columns = 0;            // of the block
  std::vector<float> values;  // [rows, columns]
};

/// All that makes a view again, but for its model.
struct tuned_values {
  any_view how;                 // settings of the view
  std::string model_hash;       // of the base
  tensor_selection selection;   // that the view was made with
  mask places;                  // of a view that has one
  std::vector<token_t> tokens;  // that a prompt began as, where they were given
  std::vector<named_values> blocks;
};

/// What a view is now. `model_hash` names the base.
template <executor X, class Layout>
tuned_values tuned_of(const X& exec, const any_view& how, const view_target& target,
                      const laid_out_view<X, Layout>& view, std::string model_hash) {
  tuned_values out{
      how, std::move(model_hash), target.selection, places_of(exec, view.layout()), target.tokens,
      {}};
  const std::vector<float> all = view.to_host();
  const value_blocks& blocks = view.layout().blocks();
  for (std::size_t i = 0; i < blocks.names().size(); ++i) {
    const extent& e = blocks.extents()[i];
    const auto from = all.begin() + e.first;
    out.blocks.push_back({blocks.names()[i], e.rows, e.columns,
                          std::vector<float>(from, from + e.rows * e.columns)});
  }
  return out;
}

/// A delta as the values of a sparse view.
tuned_values tuned_of(delta d);

/// The values of a sparse view as a delta.
delta delta_of(const tuned_values& t);

/// Written whole or not at all. `about` is added to the metadata. Throws, naming the file, and the tensor
/// when one of its values is not finite.
void write_values(const std::string& path, const tuned_values& t,
                  const std::map<std::string, std::string>& about = {});

/// The tuned values of a view as a file; see write_values.
template <executor X, class Layout>
void save_values(const std::string& path, const X& exec, const any_view& how,
                 const view_target& target, const laid_out_view<X, Layout>& view,
                 const std::string& model_hash,
                 const std::map<std::string, std::string>& about = {}) {
  write_values(path, tuned_of(exec, how, target, view, model_hash), about);
}

/// Reads a file of values or of a delta. Throws, naming file and tensor, on anything that is neither, and
/// on values that are not finite.
tuned_values read_values(const std::string& path);

/// True when the file holds values, of a view or a delta; false for a mask. Throws when it is no
/// safetensors file.
bool holds_values(const std::string& path);

namespace detail {

/// The file's blocks in the order of a layout's. Throws, naming the block, when the layout has others.
std::vector<const named_values*> in_order(const std::vector<named_values>& given,
                                          const value_blocks& blocks);

}  // namespace detail

/// The view that a file's values belong to, at these values. Of `target`, tensors and key_columns are
/// used. Throws, naming the block, when the model's has others, and as layouts do.
template <executor X>
laid_out_view<X, any_layout<X>> view_of(const X& exec, view_target target, const tuned_values& t) {
  target.selection = t.selection;
  target.places = &t.places;
  target.tokens = t.tokens;
  any_layout<X> layout = layout_of(exec, t.how, target);
  const std::vector<const named_values*> values = detail::in_order(t.blocks, layout.blocks());
  laid_out_view<X, any_layout<X>> out(exec, std::move(layout));
  const value_blocks& blocks = out.layout().blocks();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const extent& e = blocks.extents()[i];
    exec.upload(values[i]->values.data(), e.rows * e.columns, out.values().data + e.first);
  }
  out.move_to_values(exec);  // some layouts hand out what they compute from the values
  return out;
}

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <variant>

#include "zoq/core/error.hpp"
#include "zoq/core/settings.hpp"
#include "zoq/io/byte_reader.hpp"
#include "zoq/io/mask_file.hpp"
#include "zoq/io/safetensors.hpp"
#include "zoq/view/delta.hpp"

namespace zoq {

namespace detail {

inline constexpr std::string_view values_format = "zoq.values.1";
inline constexpr std::string_view places_suffix = ".index";

}  // namespace detail

ZOQ_BODY tuned_values tuned_of(delta d) {
  tuned_values out;
  out.how = sparse_settings{};
  out.model_hash = d.places.model_hash;
  std::size_t first = 0;
  for (const tensor_mask& m : d.places.tensors) {
    const auto from = d.values.begin() + static_cast<std::ptrdiff_t>(first);
    const auto n = static_cast<index_t>(m.index.size());
    out.blocks.push_back({m.tensor + ".offset", 1, n, std::vector<float>(from, from + n)});
    first += m.index.size();
  }
  out.places = std::move(d.places);
  return out;
}

ZOQ_BODY delta delta_of(const tuned_values& t) {
  delta out{t.places, {}};
  for (const named_values& block : t.blocks) {
    out.values.insert(out.values.end(), block.values.begin(), block.values.end());
  }
  out.places.model_hash = t.model_hash;
  return out;
}

ZOQ_BODY void write_values(const std::string& path, const tuned_values& t,
                           const std::map<std::string, std::string>& about) {
  if (std::holds_alternative<sparse_settings>(t.how)) {
    write_delta(path, delta_of(t), about);
    return;
  }
  std::map<std::string, std::string> metadata = about;
  metadata["format"] = detail::values_format;
  metadata["view"] = policy_text(t.how);
  metadata["model"] = t.model_hash;
  if (!t.selection.every_layer()) {
    metadata["layers"] = t.selection.layers_text();
  }
  if (!t.selection.exclude.empty()) {
    metadata["exclude"] = t.selection.exclude_text();
  }
  std::vector<safetensor> tensors;
  for (const tensor_mask& m : t.places.tensors) {
    metadata[std::string(detail::shape_key) + m.tensor] = detail::shape_text(m);
    tensors.push_back(safetensor_of<std::int32_t>(m.tensor + std::string(detail::places_suffix),
                                                  {static_cast<index_t>(m.index.size())}, m.index));
  }
  if (!t.tokens.empty()) {
    tensors.push_back(
        safetensor_of<std::int32_t>("tokens", {static_cast<index_t>(t.tokens.size())}, t.tokens));
  }
  for (const named_values& block : t.blocks) {
    detail::require_finite_values(path, block.name, block.values);
    tensors.push_back(safetensor_of<float>(block.name, {block.rows, block.columns}, block.values));
  }
  write_safetensors(path, tensors, metadata);
}

namespace detail {

ZOQ_BODY std::string metadata_or_nothing(const safetensors_file& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  return found == file.metadata().end() ? std::string() : found->second;
}

/// Memory is asked for by a view's settings, so these must not be beyond what the file holds.
ZOQ_BODY void require_small(const any_view& how, const safetensors_file& file) {
  constexpr index_t always = 1 << 12;
  const auto bytes = static_cast<index_t>(file.file().bytes().size());
  const index_t most = std::max(always, bytes / static_cast<index_t>(sizeof(float)));
  std::visit(
      [&]<class S>(const S& settings) {
        for_each_setting(settings, [&]<class T>(std::string_view name, const T& value) {
          if constexpr (std::is_same_v<std::remove_cv_t<T>, index_t>) {
            require(value >= 0 && value <= most, file.path(), ": view ", S::name, ": ", name,
                    " is ", value, ", wanted 0 to ", most);
          } else if constexpr (std::is_floating_point_v<T>) {
            require(std::isfinite(value), file.path(), ": view ", S::name, ": ", name, " is ",
                    value);
          }
        });
      },
      how);
}

}  // namespace detail

ZOQ_BODY tuned_values read_values(const std::string& path) {
  const safetensors_file file = safetensors_file::open(path);
  if (file.metadata("format") == detail::delta_format) {
    return tuned_of(read_delta(path));
  }
  require(file.metadata("format") == detail::values_format, path, ": the format is \"",
          printable(file.metadata("format")), "\", wanted \"", detail::values_format, "\" or \"",
          detail::delta_format, "\"");
  tuned_values out;
  const std::string& view = file.metadata("view");
  try {
    out.how = policy_named<any_view>("view", view);
    out.selection = select(detail::metadata_or_nothing(file, "layers"),
                           detail::metadata_or_nothing(file, "exclude"));
  } catch (const error& e) {
    fail(path, ": ", printable(e.what(), 400));
  }
  detail::require_small(out.how, file);
  out.model_hash = file.metadata("model");
  out.places.model_hash = out.model_hash;
  for (const safetensor& t : file.tensors()) {
    if (t.name == "tokens") {
      out.tokens = file.values<std::int32_t>(t.name);
    } else if (t.name.ends_with(detail::places_suffix)) {
      const std::string name = t.name.substr(0, t.name.size() - detail::places_suffix.size());
      tensor_mask one{name, 0, 0, file.values<std::int32_t>(t.name)};
      detail::read_shape(file, name, one.rows, one.columns);
      out.places.tensors.push_back(std::move(one));
    } else {
      require(t.shape.size() == 2, path, ": tensor ", printable(t.name), " has ", t.shape.size(),
              " dimensions, wanted 2");
      out.blocks.push_back({t.name, t.shape[0], t.shape[1], file.values<float>(t.name)});
      for (const float value : out.blocks.back().values) {
        require(std::isfinite(value), path, ": ", printable(t.name), " has a value that is ",
                value);
      }
    }
  }
  try {
    out.places.validate();
  } catch (const error& e) {
    fail(path, ": ", printable(e.what(), 400));
  }
  return out;
}

ZOQ_BODY bool holds_values(const std::string& path) {
  const safetensors_file file = safetensors_file::open(path);
  const std::string format = detail::metadata_or_nothing(file, "format");
  return format == detail::delta_format || format == detail::values_format;
}

namespace detail {

ZOQ_BODY std::vector<const named_values*> in_order(const std::vector<named_values>& given,
                                                   const value_blocks& blocks) {
  const std::size_t count = blocks.names().size();
  require(given.size() == count, "values: ", given.size(), " blocks, the view of this model has ",
          count);
  std::map<std::string_view, const named_values*> by_name;
  for (const named_values& block : given) {
    by_name[block.name] = &block;
  }
  std::vector<const named_values*> out;
  for (std::size_t i = 0; i < count; ++i) {
    const extent& e = blocks.extents()[i];
    const auto found = by_name.find(blocks.names()[i]);
    require(found != by_name.end(), "values: ", blocks.names()[i], " is missing");
    const named_values& block = *found->second;
    require(block.rows == e.rows && block.columns == e.columns, "values: ", block.name, " is ",
            block.rows, " x ", block.columns, ", the view of this model has ", e.rows, " x ",
            e.columns);
    out.push_back(&block);
  }
  return out;
}

}  // namespace detail
}  // namespace zoq

#endif
