// SPDX-License-Identifier: Apache-2.0
#include "zoq/model/export_gguf.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "export/tuned_case.hpp"
#include "model/tiny_hf.hpp"
#include "zoq/io/gguf.hpp"
#include "zoq/model/quantize.hpp"
#include "zoq/view/delta.hpp"

using zoq::export_gguf;
using zoq::index_t;
using zoq::tuned_model;
using namespace zoq::test;

namespace {

std::string bytes_of(const zoq::stored_tensor& t) {
  return {reinterpret_cast<const char*>(t.data), static_cast<std::size_t>(t.byte_count)};
}

std::string metadata_of(const zoq::model_file& file) {
  std::string out;
  for (const zoq::gguf_value& v : file.metadata()) {
    out += std::string(v.key) + "=" +
           std::string(reinterpret_cast<const char*>(v.bytes.data()), v.bytes.size()) + "\n";
  }
  return out;
}

}  // namespace

TEST_CASE(
    "export_gguf: tensors that no value touches, and the metadata, are the model's to the byte") {
  const tuned_case c(tiny_llama({.config = small_config(), .format = "q4_1"}), "sparse", 0.0005);
  const std::string out = c.folder / "out.gguf";
  const tuned_model m(c.model, c.values);
  const zoq::export_summary sum = export_gguf(m, out);
  const zoq::model_file before = zoq::open_gguf(c.model), after = zoq::open_gguf(out);
  CHECK(metadata_of(after) == metadata_of(before));
  REQUIRE(after.tensors().size() == before.tensors().size());
  index_t touched = 0;
  for (std::size_t i = 0; i < before.tensors().size(); ++i) {
    const zoq::stored_tensor &was = before.tensors()[i], &is = after.tensors()[i];
    CAPTURE(was.name);
    CHECK(is.name == was.name);
    CHECK(is.shape == was.shape);
    const zoq::delta d = zoq::read_delta(c.values);
    const zoq::tensor_mask* own = nullptr;
    std::size_t first = 0;
    for (const zoq::tensor_mask& t : d.places.tensors) {
      if (t.tensor == was.name && !t.index.empty()) {
        own = &t;
        break;
      }
      first += t.index.size();
    }
    if (own == nullptr) {
      CHECK(is.type == was.type);
      CHECK(bytes_of(is) == bytes_of(was));
      continue;
    }
    ++touched;
    // decode(base) + offset, to the bit.
    CHECK(is.format == "f32");
    std::vector<float> wanted(at(was.rows() * was.columns()));
    before.matrix(was.name).visit([&](const auto& w) {
      for (index_t o = 0; o < was.rows(); ++o) {
        decode_row(w, o, wanted.data() + o * was.columns());
      }
    });
    for (std::size_t j = 0; j < own->index.size(); ++j) {
      wanted[at(own->index[j])] += d.values[first + j];
    }
    CHECK(std::memcmp(is.data, wanted.data(), wanted.size() * sizeof(float)) == 0);
  }
  CHECK(touched > 0);
  CHECK(touched < static_cast<index_t>(before.tensors().size()));  // embedding and head are not
  CHECK(sum.touched == touched);
  CHECK(sum.error.relative() == 0);
  CHECK(sum.lost.relative() == 0);
  CHECK(sum.bytes_after == zoq::open_model(out).byte_count());
}

TEST_CASE("export_gguf: the file computes what the model does with values of any view of weights") {
  for (const char* view : {"sparse", "lora:rank=2,alpha=4", "lora-b:rank=2", "scales:block=16",
                           "hybrid:rank=1,threshold=20", "subspace:of=lora,rank=2,dimension=30",
                           "subspace:of=sparse,dimension=7", "dense", "dense:roles=norm"}) {
    CAPTURE(view);
    const bool floats = std::string(view).starts_with("dense");
    for (const auto& config : {tiny_config(), tiny_gpt2_config(), tiny_openelm_config()}) {
      CAPTURE(config.family);
      const tuned_case c(
          tiny_llama({.config = config, .format = floats ? "bf16" : "q4_1", .tied = floats}), view);
      export_gguf(tuned_model(c.model, c.values), c.folder / "out.gguf");
      // Products go in another order where a value stands beside its weight: the error of floats.
      CHECK(relative_error(tuned_case::logits_in(c.folder / "out.gguf"), c.logits) < 2e-6);
      CHECK(relative_error(tuned_case::logits_in(c.model), c.logits) > 1e-3);
    }
  }
}

TEST_CASE("export_gguf: narrower formats lose what they say") {
  const tuned_case c(tiny_llama({.format = "q4_1"}), "sparse");
  const tuned_model m(c.model, c.values);
  double before = 0;
  for (const char* format : {"f16", "bf16", "q8_0", "q4_1"}) {
    CAPTURE(format);
    const zoq::export_summary sum = export_gguf(m, c.folder / "out.gguf", format);
    CHECK(sum.lost.relative() > before);
    CHECK(sum.error.relative() > 0);
    before = sum.lost.relative();
  }
  // Half a step of f16 and of bf16, 2^-11 and 2^-8 of a weight, at most.
  CHECK(export_gguf(m, c.folder / "out.gguf", "f16").error.relative() < 0x1p-11);
  CHECK(export_gguf(m, c.folder / "out.gguf", "bf16").error.relative() < 0x1p-8);
}

TEST_CASE("export_gguf: of a folder and of a container, rows and formats are those of GGUF") {
  tuned_case c(tiny_llama({.format = "bf16"}), "sparse");
  tiny_hf(tiny_llama({.format = "bf16"})).write(c.folder / "hf");
  c.put_values(c.folder / "hf", "sparse");
  export_gguf(tuned_model(c.model, c.values), c.folder / "out.gguf");
  CHECK(relative_error(tuned_case::logits_in(c.folder / "out.gguf"), c.logits) < 1e-5);
  CHECK_FALSE(zoq::open_gguf(c.folder / "out.gguf").has("zoq.rotary_halves"));
  CHECK(zoq::open_gguf(c.folder / "out.gguf").tensor("blk.0.attn_norm.weight").format == "f32");

  zoq::quantize_file(c.folder / "hf", c.folder / "lut4.safetensors", {.linear = "lut4"});
  c.put_values(c.folder / "lut4.safetensors", "lora:rank=2");
  export_gguf(tuned_model(c.model, c.values), c.folder / "out.gguf");
  CHECK(relative_error(tuned_case::logits_in(c.folder / "out.gguf"), c.logits) < 2e-6);
}

TEST_CASE("export_gguf_lora: the products beside the model's matrices, in GGUF's order of rows") {
  for (const char* view : {"lora:rank=2,alpha=6", "lora-b:rank=3,alpha=4"}) {
    tuned_case c(tiny_llama({.format = "bf16"}), view);
    tiny_hf(tiny_llama({.format = "bf16"})).write(c.folder / "hf");
    for (const bool of_folder : {false, true}) {
      CAPTURE(of_folder);
      if (of_folder) {
        c.put_values(c.folder / "hf", view);
      }
      const tuned_model m(c.model, c.values);
      zoq::export_gguf_lora(m, c.folder / "lora.gguf");
      zoq::export_gguf(m, c.folder / "whole.gguf");
      zoq::export_gguf(tuned_model(c.model), c.folder / "base.gguf");
      const zoq::model_file adapter = zoq::open_gguf(c.folder / "lora.gguf"),
                            base = zoq::open_gguf(c.folder / "base.gguf"),
                            whole = zoq::open_gguf(c.folder / "whole.gguf");
      CHECK(adapter.get_string("general.type") == "adapter");
      CHECK(adapter.get_string("general.architecture") == "llama");
      CHECK(adapter.get_string("adapter.type") == "lora");
      const double alpha = adapter.get_float("adapter.lora.alpha");
      CHECK(adapter.tensors().size() == 2 * 7 * 2);
      for (const zoq::stored_tensor& t : adapter.tensors()) {
        if (!t.name.ends_with(".lora_a")) {
          continue;
        }
        const std::string name = t.name.substr(0, t.name.size() - 7);
        CAPTURE(name);
        const zoq::stored_tensor& u = adapter.tensor(name + ".lora_b");
        const index_t rank = t.rows(), columns = t.columns(), rows = u.rows();
        REQUIRE(u.columns() == rank);
        const auto* a = reinterpret_cast<const float*>(t.data);
        const auto* b = reinterpret_cast<const float*>(u.data);
        std::vector<float> x(at(columns)), y(at(columns));
        double worst = 0;
        for (index_t o = 0; o < rows; ++o) {
          base.matrix(name).visit([&](const auto& w) { decode_row(w, o, x.data()); });
          whole.matrix(name).visit([&](const auto& w) { decode_row(w, o, y.data()); });
          for (index_t i = 0; i < columns; ++i) {
            double sum = 0;
            for (index_t r = 0; r < rank; ++r) {
              sum += double{b[o * rank + r]} * double{a[r * columns + i]};
            }
            const double wanted = double{x[at(i)]} + alpha / static_cast<double>(rank) * sum;
            worst = std::max(worst, std::abs(double{y[at(i)]} - wanted));
          }
        }
        CHECK(worst < 1e-7);
      }
    }
  }
}

TEST_CASE("exports: what cannot be written is refused by name, and nothing is left behind") {
  const tuned_case c(tiny_llama({.format = "q4_1"}), "prompt:rows=3");
  const std::string out = c.folder / "out.gguf";
  const auto refused = [&](const auto& f) {
    const std::string said = message_of(f);
    CHECK(is_one_line(said));
    CHECK_FALSE(std::filesystem::exists(out));
    return said;
  };
  CHECK(refused([&] { tuned_model(c.model, c.values); }) ==
        c.values +
            ": values of the view prompt change no weight: they can be used by zoq alone, and "
            "not be exported");

  const tuned_case s(tiny_llama({.format = "q4_1"}), "sparse");
  const tuned_model m(s.model, s.values);
  CHECK(refused([&] { zoq::export_gguf_lora(m, out); }).find("view sparse") != std::string::npos);
  CHECK(refused([&] { export_gguf(m, out, "lut4"); }) == out + ": lut4 is no format of GGUF files");
  CHECK(refused([&] { export_gguf(m, out, "q6_k"); }).find("256") != std::string::npos);
  CHECK(refused([&] { export_gguf(m, s.model); }).find("is read, and cannot be written over") !=
        std::string::npos);
  CHECK(refused([&] { tuned_model(c.model, s.folder / "nothing"); }).find("nothing") !=
        std::string::npos);
  const tuned_case other(tiny_llama({.format = "q8_0"}), "sparse");
  CHECK(refused([&] { tuned_model(s.model, other.values); }).find("another model") !=
        std::string::npos);
}
