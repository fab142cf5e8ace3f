// What views need to know of a model.
//
//     zoq::laid_out_view view(exec, zoq::layout_of(exec, zoq::lora_settings{}, zoq::target_of(model)));
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/core/config.hpp"
#include "zoq/model/decoder.hpp"
#include "zoq/view/target.hpp"

namespace zoq {

/// All tensors of the model, which must outlive the target.
[[nodiscard]] view_target target_of(const decoder& model);

}  // namespace zoq

#if ZOQ_BODIES

namespace zoq {

ZOQ_BODY view_target target_of(const decoder& model) {
  view_target out{.tensors = model.tensors()};
  const decoder_config& c = model.config();
  for (index_t l = 0; l < c.layers; ++l) {
    out.key_columns.push_back(c.at(l).kv_heads * c.head_size);
  }
  return out;
}

}  // namespace zoq

#endif
