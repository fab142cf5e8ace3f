// The families of models that zoq knows: the one list, and what is asked of the family of a name.
//
//     zoq::decoder_config c = zoq::decoder_config_from(file);    // by general.architecture
//     zoq::tensor_list wanted = zoq::tensors_of(c);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <variant>

#include "zoq/model/family.hpp"
#include "zoq/model/gpt2_family.hpp"
#include "zoq/model/llama_family.hpp"
#include "zoq/model/openelm_family.hpp"

namespace zoq {

/// All families that zoq knows, by `general.architecture`.
using any_family = std::variant<llama_family, gpt2_family, openelm_family>;

/// The sizes from a file's metadata. Throws, naming file and key, on an architecture that is not known,
/// a missing key, or a feature that would change the result and is not built.
decoder_config decoder_config_from(const model_file& file);

/// The tensors of a model of these sizes, its head among them. Throws on a family that is not known.
tensor_list tensors_of(const decoder_config& c);

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <string>

#include "zoq/core/choice.hpp"
#include "zoq/core/error.hpp"
#include "zoq/io/model_file.hpp"

namespace zoq {

ZOQ_BODY decoder_config decoder_config_from(const model_file& file) {
  const std::string name = file.get_string("general.architecture");
  const auto known = names_of<any_family>();
  if (std::find(known.begin(), known.end(), name) == known.end()) {
    std::string all;
    for (const std::string& one : known) {
      all += (all.empty() ? "" : ", ") + one;
    }
    fail(file.path(), ": architecture \"", printable(name), "\" is not known: ", all);
  }
  return std::visit([&](const auto& family) { return family.config_from(file); },
                    choice_named<any_family>("architecture", name));
}

ZOQ_BODY tensor_list tensors_of(const decoder_config& c) {
  return std::visit([&](const auto& family) { return family.tensors(c); },
                    choice_named<any_family>("family of models", c.family));
}

}  // namespace zoq

#endif
