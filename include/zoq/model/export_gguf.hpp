// A tuned model as one GGUF file, and a LoRA view as a GGUF adapter: both load in llama.cpp.
//
//     zoq::tuned_model m("model.gguf", "delta.safetensors");
//     zoq::export_gguf(m, "tuned.gguf", "f32");
//     zoq::export_gguf_lora(zoq::tuned_model("model.gguf", "lora.safetensors"), "lora.gguf");
//
// Only tensors that the values change get another format, one of floats; all other bytes and all metadata
// are those of the model (but for what quantize.hpp lists). In f32 nothing is lost: the weights are those
// that zoq computes with.
//
// An adapter holds general.type = "adapter", general.architecture, adapter.type = "lora",
// adapter.lora.alpha, and for each matrix NAME.lora_a [R, C] and NAME.lora_b [O, R] in f32; its reader
// adds alpha / R B A. Source: llama.cpp's reader of adapters.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/model/tensor_export.hpp"
#include "zoq/model/tuned_model.hpp"
#include "zoq/quant/formats.hpp"

namespace zoq {

/// Writes the model to `to`, tensors that the values change in the format of this name: f32, which keeps
/// the values to the bit, f16, bf16, or a quantised one, which loses most of small changes. So are
/// tensors in formats that GGUF lacks. Throws, naming file and tensor, on an unknown format or one
/// that is not GGUF's or whose block does not divide the columns, and as tensor_export and gguf_writer
/// do; then there is no file. Memory: about a megabyte, and pages of one tensor.
export_summary export_gguf(const tuned_model& m, const std::string& to,
                           std::string_view format = f32_format::name,
                           const export_progress& tell = {});

/// Writes the products of a LoRA view as an adapter. Throws when the values are anything else, or when
/// their scale is 0, and as gguf_writer does.
adapter_summary export_gguf_lora(const tuned_model& m, const std::string& to);

}  // namespace zoq

#if ZOQ_BODIES

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "zoq/core/error.hpp"
#include "zoq/io/atomic_file.hpp"
#include "zoq/io/gguf_writer.hpp"
#include "zoq/model/quantize.hpp"
#include "zoq/ops/tensors.hpp"

namespace zoq {

namespace detail {

/// The format of tensor `t` in an exported GGUF file. Readers take norms and biases in f32 alone.
ZOQ_BODY format_info gguf_format_of(const model_tensor& t, bool touched,
                                    const format_info& wanted) {
  const format_info now = t.weight.format();
  const bool vector = t.role == tensor_role::norm || t.role == tensor_role::bias;
  if (vector && (touched || now.name == f16_format::name || now.name == bf16_format::name)) {
    return info_of<f32_format>();
  }
  return touched || now.gguf_type == no_gguf_type ? wanted : now;
}

}  // namespace detail

ZOQ_BODY export_summary export_gguf(const tuned_model& m, const std::string& to,
                                    std::string_view format, const export_progress& tell) {
  const format_info wanted = format_named(format);
  require(wanted.gguf_type != no_gguf_type, to, ": ", format, " is no format of GGUF files");
  require_no_input(to, {m.path(), m.values_path()});
  std::vector<tensor_export> work;
  index_t all = 0, done = 0;
  bool quantises = false;
  for (const stored_tensor& t : m.file().tensors()) {
    const index_t number = find_tensor(m.model().tensors(), t.name);
    const format_info after =
        detail::gguf_format_of(m.model().tensor(number), m.touches(number), wanted);
    work.emplace_back(m, number, t.name, after, tuned_model::row_order::neighbours);
    all += work.back().weights;
    quantises = quantises || (after.block_size > 1 && after.name != work.back().from);
  }
  gguf_writer out;
  detail::carry_metadata(m.file(), std::nullopt, quantises, out);
  for (tensor_export& t : work) {
    out.add_tensor(t.name, m.file().tensor(t.name).shape, format_named(t.to).gguf_type,
                   [&](const gguf_writer::sink& put) {
                     t.run(put, [&](index_t rows) {
                       done += rows * t.weight().columns();
                       if (tell) {
                         tell(done, all);
                       }
                     });
                     m.file().drop_pages();
                   });
  }
  out.write(to);
  export_summary sum;
  for (const tensor_export& t : work) {
    sum.add(t);
  }
  return sum;
}

ZOQ_BODY adapter_summary export_gguf_lora(const tuned_model& m, const std::string& to) {
  require(m.only_low_rank(), to,
          ": a GGUF adapter holds the products of the views lora and lora-b; ",
          m.view().empty() ? "there are no values" : text("the values are of the view ", m.view()),
          ": export the whole model (gguf)");
  require_no_input(to, {m.path(), m.values_path()});
  gguf_writer out;
  adapter_summary sum{"lora", 0, 0, 0, 0};
  std::vector<std::vector<float>> turned;  // in GGUF's order of rows; must stay where they are
  turned.reserve(m.model().tensors().size());
  for (index_t n = 0; n < static_cast<index_t>(m.model().tensors().size()); ++n) {
    const std::optional<low_rank_product> p = m.low_rank(n);
    if (!p) {
      continue;
    }
    const model_tensor& t = m.model().tensor(n);
    const index_t rows = t.weight.rows(), columns = t.weight.columns();
    const float alpha = p->scale * static_cast<float>(p->rank);
    if (sum.modules == 0) {
      require(alpha != 0, to, ": the products' alpha is 0: there is nothing to add");
      out.set("general.type", std::string_view("adapter"));
      out.set("general.architecture", m.model().config().family);
      out.set("adapter.type", std::string_view("lora"));
      out.set("adapter.lora.alpha", alpha);
    }
    std::vector<float>& b = turned.emplace_back();
    for (index_t o = 0; o < rows; ++o) {
      const float* row = p->b + m.row_from(n, o, tuned_model::row_order::neighbours) * p->rank;
      b.insert(b.end(), row, row + p->rank);
    }
    out.add_tensor(t.name + ".lora_a", {columns, p->rank}, f32_format::gguf_type,
                   std::as_bytes(std::span(p->a, static_cast<std::size_t>(p->rank * columns))));
    out.add_tensor(t.name + ".lora_b", {p->rank, rows}, f32_format::gguf_type,
                   std::as_bytes(std::span<const float>(b)));
    ++sum.modules;
    sum.rank = p->rank;
    sum.values += p->rank * (rows + columns);
  }
  out.write(to);
  return sum;
}

}  // namespace zoq

#endif
