// A tuned model as a Hugging Face folder, which transformers opens.
//
//     zoq::tuned_model m("model.gguf", "delta.safetensors");
//     zoq::export_folder(m, "tuned", {.format = "bf16"});
//
// All tensors are decoded, with the values, into one float format, under the names and in the order of
// rows that the folder's kind of model has. Of a folder, config.json goes over with the new dtype, and
// tokenizer and generation settings as they are; of another file, io/hf_writer.hpp makes them. More than
// `shard_bytes` become several files and an index. Llama and GPT-2; transformers has no OpenELM.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "zoq/core/config.hpp"
#include "zoq/model/tensor_export.hpp"
#include "zoq/model/tuned_model.hpp"

namespace zoq {

/// How export_folder writes tensors.
struct folder_options {
  std::string format = "f32";           // of all tensors: f32, f16 or bf16
  index_t shard_bytes = 5'000'000'000;  // most bytes of tensors in a file; one tensor may exceed it
};

/// A float format as safetensors and as transformers name it: {"F32", "float32"}. Throws, starting with
/// `where`, on another format.
std::pair<std::string, std::string> float_names_of(std::string_view format,
                                                   const std::string& where);

namespace detail {

std::string json_text(const nlohmann::ordered_json& value, int indent);

}  // namespace detail

/// Writes the folder `to`, which must not be there or be empty; it appears whole or not at all. Throws,
/// naming file and tensor, on another format or family, and as tensor_export and the writers do. Memory:
/// as export_gguf; one matrix more of a GPT-2.
export_summary export_folder(const tuned_model& m, const std::string& to,
                             const folder_options& how = {}, const export_progress& tell = {});

}  // namespace zoq

#if ZOQ_BODIES

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "zoq/core/error.hpp"
#include "zoq/io/atomic_file.hpp"
#include "zoq/io/hf_folder.hpp"
#include "zoq/io/hf_names.hpp"
#include "zoq/io/hf_writer.hpp"
#include "zoq/io/mapped_file.hpp"
#include "zoq/io/new_folder.hpp"
#include "zoq/io/safetensors.hpp"
#include "zoq/model/quantize.hpp"
#include "zoq/ops/tensors.hpp"
#include "zoq/quant/formats.hpp"

namespace zoq {

ZOQ_BODY std::pair<std::string, std::string> float_names_of(std::string_view format,
                                                            const std::string& where) {
  if (format == f32_format::name) {
    return {"F32", "float32"};
  }
  require(format == f16_format::name || format == bf16_format::name, where, ": the format is \"",
          format, "\", wanted f32, f16 or bf16");
  return format == f16_format::name ? std::pair<std::string, std::string>{"F16", "float16"}
                                    : std::pair<std::string, std::string>{"BF16", "bfloat16"};
}

namespace detail {

/// A tensor's bytes, turned where the folder keeps [inputs, outputs].
ZOQ_BODY safetensor_source folder_source(tensor_export& t, const model_tensor& from,
                                         const hf_place& place, const std::string& dtype,
                                         const std::function<void(index_t)>& done) {
  const index_t rows = from.weight.rows(), columns = from.weight.columns();
  const bool turned = place.what == hf_place::take::transposed;
  const bool vector = from.role == tensor_role::norm || from.role == tensor_role::bias;
  safetensor_source out{place.name, dtype, {rows, columns}, {}};
  if (vector) {
    out.shape = {columns};
  } else if (turned) {
    out.shape = {columns, rows};
  }
  out.make = [&t, turned, rows, columns, done](const safetensor_source::sink& put) {
    if (!turned) {
      t.run(put, done);
      return;
    }
    std::vector<std::byte> whole;
    t.run(
        [&](std::span<const std::byte> some) {
          whole.insert(whole.end(), some.begin(), some.end());
        },
        done);
    const auto size = static_cast<index_t>(whole.size()) / (rows * columns);
    put(*transposed_bytes(whole.data(), rows, columns, size));
  };
  return out;
}

/// "model-00002-of-00003.safetensors"; of one file "model.safetensors".
ZOQ_BODY std::string shard_name(std::size_t number, std::size_t count) {
  char out[64];
  std::snprintf(out, sizeof out, "model-%05zu-of-%05zu.safetensors", number + 1, count);
  return count == 1 ? "model.safetensors" : out;
}

ZOQ_BODY std::string json_text(const nlohmann::ordered_json& value, int indent) {
  return value.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

/// What is in a folder beside tensors. The order of config.json's keys is kept.
ZOQ_BODY void write_beside(const tuned_model& m, const std::string& dtype, const std::string& to) {
  const auto write = [&](const char* name, const nlohmann::ordered_json& value, int indent) {
    write_file_atomically(to + "/" + name, json_text(value, indent));
  };
  if (!std::filesystem::is_directory(m.path())) {
    write("config.json", hf_config_of(m.file(), m.model().tied(), dtype), 2);
    if (has_hf_tokenizer(m.file())) {
      write("tokenizer.json", hf_tokenizer_of(m.file()), -1);
      write("tokenizer_config.json", hf_tokenizer_config_of(m.file()), 2);
    }
    return;
  }
  const mapped_file file(m.path() + "/config.json");
  const auto chars = reinterpret_cast<const char*>(file.bytes().data());
  auto config = nlohmann::ordered_json::parse(chars, chars + file.bytes().size());
  config[config.contains("dtype") ? "dtype" : "torch_dtype"] = dtype;
  write("config.json", config, 2);
  for (const char* name :
       {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
        "vocab.json", "merges.txt", "chat_template.jinja", "generation_config.json"}) {
    const std::string from = m.path() + "/" + name;
    if (exists_at(from)) {
      std::filesystem::copy_file(from, to + "/" + name);
    }
  }
}

}  // namespace detail

ZOQ_BODY export_summary export_folder(const tuned_model& m, const std::string& to,
                                      const folder_options& how, const export_progress& tell) {
  const auto [dtype, torch_dtype] = float_names_of(how.format, to);
  const format_info wanted = format_named(how.format);
  const std::string family(m.model().config().family);
  require(family == "llama" || family == "gpt2", m.path(), ": ", family,
          ": the package transformers has no such model of its own; export to gguf");
  new_folder folder(to);
  std::vector<tensor_export> work;
  std::vector<hf_place> places;
  std::vector<std::size_t> ends;  // of shards, in `work`
  index_t all = 0, done = 0, in_shard = 0;
  for (index_t n = 0; n < static_cast<index_t>(m.model().tensors().size()); ++n) {
    const model_tensor& t = m.model().tensor(n);
    places.push_back(*hf_source_of(family, t.name));
    work.emplace_back(m, n, places.back().name, wanted, tuned_model::row_order::halves);
    all += work.back().weights;
    if (in_shard > 0 && in_shard + work.back().bytes_after > how.shard_bytes) {
      ends.push_back(work.size() - 1);
      in_shard = 0;
    }
    in_shard += work.back().bytes_after;
  }
  ends.push_back(work.size());
  const auto finished = [&](index_t weights) {
    done += weights;
    if (tell) {
      tell(done, all);
    }
  };
  nlohmann::ordered_json map = nlohmann::ordered_json::object();
  std::size_t first = 0;
  for (std::size_t s = 0; s < ends.size(); ++s) {
    const std::string name = detail::shard_name(s, ends.size());
    std::vector<safetensor_source> sources;
    for (std::size_t i = first; i < ends[s]; ++i) {
      const index_t columns = work[i].weight().columns();
      sources.push_back(detail::folder_source(work[i], m.model().tensor(work[i].number()),
                                              places[i], dtype, [&, columns](index_t rows) {
                                                finished(rows * columns);
                                                m.file().drop_pages();
                                              }));
      map[places[i].name] = name;
    }
    stream_safetensors(folder.path() + "/" + name, sources, {{"format", "pt"}});
    first = ends[s];
  }
  export_summary sum;
  for (const tensor_export& t : work) {
    sum.add(t);
  }
  if (ends.size() > 1) {
    write_file_atomically(
        folder.path() + "/model.safetensors.index.json",
        detail::json_text({{"metadata", {{"total_size", sum.bytes_after}}}, {"weight_map", map}},
                          2));
  }
  detail::write_beside(m, torch_dtype, folder.path());
  folder.commit();
  return sum;
}

}  // namespace zoq

#endif
