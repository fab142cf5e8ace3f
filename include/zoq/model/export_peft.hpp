// Tuned values as an adapter of the package PEFT: a folder with adapter_config.json and
// adapter_model.safetensors. A sparse view becomes SHiRA, PEFT's sparse adapter; the views lora and lora-b
// become LoRA.
//
//     zoq::export_peft(zoq::tuned_model("model.gguf", "delta.safetensors"), "adapter");
//     # PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("base"), "adapter")
//
// LoRA: for each module `base_model.model.MODULE.lora_A.weight` F32 [R, C] and `.lora_B.weight` [O, R].
// SHiRA: `.shira_weight` F32 [n] and `.shira_indices` I32 [2, n], rows above columns; n is r (C + O) with
// one r for all modules. So r is the least that holds the fullest matrix, and the others are filled with
// entries of value 0, which change nothing. Rows are in the folder's order (model/export_folder.hpp).
// Hu et al., arXiv 2106.09685; Bhardwaj et al., "Sparse High Rank Adapters", arXiv 2406.13175. Names and
// shapes: PEFT's own code.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "zoq/core/config.hpp"
#include "zoq/model/tensor_export.hpp"
#include "zoq/model/tuned_model.hpp"

namespace zoq {

/// Writes the folder `to`, which must not be there or be empty; it appears whole or not at all. Throws
/// on values of another view, on families that PEFT's adapter does not fit, on a mask too uneven for it,
/// and as the writers do. Memory: the adapter twice.
adapter_summary export_peft(const tuned_model& m, const std::string& to);

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "zoq/core/error.hpp"
#include "zoq/core/function_ref.hpp"
#include "zoq/io/atomic_file.hpp"
#include "zoq/io/hf_names.hpp"
#include "zoq/io/new_folder.hpp"
#include "zoq/io/safetensors.hpp"
#include "zoq/model/export_folder.hpp"
#include "zoq/ops/tensors.hpp"

namespace zoq {

namespace detail {

/// An adapter on its way: what is written, and the memory of it.
struct peft_parts {
  nlohmann::ordered_json modules = nlohmann::ordered_json::array();
  std::vector<safetensor> tensors;
  std::vector<std::vector<float>> values;
  std::vector<std::vector<std::int32_t>> places;
  adapter_summary sum;

  void add(const std::string& module, const char* what, std::vector<index_t> shape,
           std::vector<float> of) {
    values.push_back(std::move(of));  // the vector moves, its memory does not
    tensors.push_back(
        safetensor_of<float>("base_model.model." + module + what, std::move(shape), values.back()));
  }
  void add(const std::string& module, const char* what, std::vector<index_t> shape,
           std::vector<std::int32_t> of) {
    places.push_back(std::move(of));
    tensors.push_back(safetensor_of<std::int32_t>("base_model.model." + module + what,
                                                  std::move(shape), places.back()));
  }
};

/// "model.layers.0.self_attn.q_proj": the module whose weight is tensor `number`.
ZOQ_BODY std::string peft_module(const tuned_model& m, index_t number) {
  std::string name = hf_source_of(m.model().config().family, m.model().tensor(number).name)->name;
  name.resize(name.size() - std::string_view(".weight").size());
  return name;
}

/// Calls f(number, weight) for every tensor that the values change.
ZOQ_BODY void for_each_touched(const tuned_model& m,
                               function_ref<void(index_t number, const any_packed& weight)> f) {
  for (index_t n = 0; n < static_cast<index_t>(m.model().tensors().size()); ++n) {
    if (m.touches(n)) {
      f(n, m.model().tensor(n).weight);
    }
  }
}

ZOQ_BODY void add_lora(const tuned_model& m, const std::string& to, peft_parts& out,
                       nlohmann::ordered_json& config) {
  float alpha = 0;
  for_each_touched(m, [&](index_t n, const any_packed& w) {
    const low_rank_product p = *m.low_rank(n);
    const index_t rows = w.rows(), columns = w.columns();
    const std::string module = peft_module(m, n);
    alpha = p.scale * static_cast<float>(p.rank);
    std::vector<float> b;
    for (index_t o = 0; o < rows; ++o) {
      const float* row = p.b + m.row_from(n, o, tuned_model::row_order::halves) * p.rank;
      b.insert(b.end(), row, row + p.rank);
    }
    out.modules.push_back(module);
    out.add(module, ".lora_A.weight", {p.rank, columns},
            std::vector<float>(p.a, p.a + p.rank * columns));
    out.add(module, ".lora_B.weight", {rows, p.rank}, std::move(b));
    out.sum.rank = p.rank;
    out.sum.values += p.rank * (rows + columns);
  });
  require(alpha != 0, to, ": the products' alpha is 0: there is nothing to add");
  config["lora_alpha"] = shortest(alpha);
  config["lora_dropout"] = 0.0;
  config["bias"] = "none";
  // GPT-2 keeps its matrices as [inputs, outputs].
  config["fan_in_fan_out"] = m.model().config().family == "gpt2";
}

/// The entries of one matrix, by row and column of the folder's order, and then fill of value 0.
ZOQ_BODY void add_entries(const tuned_model& m, index_t n, index_t count, peft_parts& out) {
  const index_t columns = m.model().tensor(n).weight.columns();
  const sparse_values s = *m.sparse(n);
  std::vector<std::pair<index_t, float>> entries;
  for (std::size_t i = 0; i < s.value.size(); ++i) {
    const index_t row = m.row_to(n, s.row[i], tuned_model::row_order::halves);
    entries.emplace_back(row * columns + s.column[i], s.value[i]);
  }
  std::sort(entries.begin(), entries.end());
  const std::size_t own = entries.size();
  for (index_t place = 0, next = 0; static_cast<index_t>(entries.size()) < count; ++place) {
    if (next < static_cast<index_t>(own) &&
        entries[static_cast<std::size_t>(next)].first == place) {
      ++next;
    } else {
      entries.emplace_back(place, 0.0f);
    }
  }
  std::vector<float> values;
  std::vector<std::int32_t> places(entries.size() * 2);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    values.push_back(entries[i].second);
    places[i] = static_cast<std::int32_t>(entries[i].first / columns);
    places[entries.size() + i] = static_cast<std::int32_t>(entries[i].first % columns);
  }
  const std::string module = peft_module(m, n);
  out.modules.push_back(module);
  out.add(module, ".shira_weight", {count}, std::move(values));
  out.add(module, ".shira_indices", {2, count}, std::move(places));
  out.sum.values += static_cast<index_t>(own);
  out.sum.filled += count - static_cast<index_t>(own);
}

ZOQ_BODY void add_shira(const tuned_model& m, const std::string& to, peft_parts& out,
                        nlohmann::ordered_json& config) {
  require(m.model().config().family != "gpt2", to,
          ": PEFT's sparse adapter takes modules of nn.Linear, GPT-2 has others: export the whole "
          "model (safetensors)");
  index_t r = 1;
  for_each_touched(m, [&](index_t n, const any_packed& w) {
    const index_t unit = w.rows() + w.columns();
    r = std::max(r, (static_cast<index_t>(m.sparse(n)->value.size()) + unit - 1) / unit);
  });
  for_each_touched(m, [&](index_t n, const any_packed& w) {
    const index_t count = r * (w.rows() + w.columns());
    require(count <= w.rows() * w.columns(), to, ": PEFT's sparse adapter keeps as many values in ",
            m.model().tensor(n).name, " as in a matrix that has many, ", count, " of ",
            w.rows() * w.columns(), ": export the whole model (safetensors)");
    add_entries(m, n, count, out);
  });
  out.sum.rank = r;
  config["mask_type"] = "random";  // what PEFT draws from it is replaced by the file's places
  config["random_seed"] = 0;
  config["fan_in_fan_out"] = false;
}

}  // namespace detail

ZOQ_BODY adapter_summary export_peft(const tuned_model& m, const std::string& to) {
  const bool low_rank = m.only_low_rank();
  require(low_rank || m.only_sparse(), to,
          ": PEFT has adapters for the views sparse, lora and lora-b; ",
          m.view().empty() ? "there are no values" : text("the values are of the view ", m.view()),
          ": export the whole model (gguf or safetensors)");
  const std::string family(m.model().config().family);
  require(family == "llama" || family == "gpt2", to, ": ", family,
          ": the package transformers has no such model of its own; export to gguf");
  new_folder folder(to);
  detail::peft_parts out;
  nlohmann::ordered_json more = nlohmann::ordered_json::object();
  if (low_rank) {
    detail::add_lora(m, to, out, more);
  } else {
    detail::add_shira(m, to, out, more);
  }
  out.sum.kind = low_rank ? "lora" : "shira";
  out.sum.modules = static_cast<index_t>(out.modules.size());
  const bool is_folder = std::filesystem::is_directory(m.path());
  nlohmann::ordered_json config = {
      {"peft_type", low_rank ? "LORA" : "SHIRA"},
      {"task_type", "CAUSAL_LM"},
      {"base_model_name_or_path", is_folder ? nlohmann::ordered_json(m.path()) : nullptr},
      {"inference_mode", true},
      {"r", out.sum.rank},
      {"target_modules", out.modules}};
  config.update(more);
  write_safetensors(folder.path() + "/adapter_model.safetensors", out.tensors, {{"format", "pt"}});
  write_file_atomically(folder.path() + "/adapter_config.json", detail::json_text(config, 2));
  folder.commit();
  return out.sum;
}

}  // namespace zoq

#endif
