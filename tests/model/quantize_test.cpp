// SPDX-License-Identifier: Apache-2.0
#include "zoq/model/quantize.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "io/temporary_folder.hpp"
#include "tiny_llama.hpp"

using zoq::index_t;
using zoq::model_file;
using zoq::open_gguf;
using zoq::quantize_file;
using zoq::quantize_options;
using zoq::tensor_change;
using zoq::tensor_role;
using namespace zoq::test;

namespace {

// All matrices in one format.
quantize_options all_in(std::string_view format) {
  const std::string name(format);
  return {.linear = name, .embedding = name, .head = name};
}

std::string bytes_of(const model_file& file, const std::string& name) {
  const zoq::stored_tensor& t = file.tensor(name);
  return {reinterpret_cast<const char*>(t.data), static_cast<std::size_t>(t.byte_count)};
}

// Names, shapes, types and bytes of all tensors are those of `tiny`.
void check_tensors(const std::string& path, const tiny_llama& tiny) {
  const model_file file = open_gguf(path);
  REQUIRE(file.tensors().size() == tiny.tensors.size());
  for (std::size_t n = 0; n < tiny.tensors.size(); ++n) {
    const tiny_llama::tensor& wanted = tiny.tensors[n];
    CAPTURE(wanted.name);
    CHECK(file.tensors()[n].name == wanted.name);
    CHECK(file.tensors()[n].shape == wanted.shape);
    CHECK(file.tensors()[n].type == wanted.type);
    REQUIRE(file.tensors()[n].byte_count == static_cast<index_t>(wanted.weight.bytes->size()));
    CHECK(std::memcmp(file.tensors()[n].data, wanted.weight.bytes->data(),
                      wanted.weight.bytes->size()) == 0);
  }
}

std::string refusal(const temporary_folder& folder, const tiny_llama& tiny,
                    const quantize_options& options) {
  tiny.write(folder / "in.gguf");
  const std::string said =
      message_of([&] { quantize_file(folder / "in.gguf", folder / "out.gguf", options); });
  CHECK(is_one_line(said));
  CHECK(folder.entries() == 1);  // neither the result nor a part of it
  const std::string path = (folder / "in.gguf") + ": ";
  return said.starts_with(path) ? said.substr(path.size()) : said;
}

}  // namespace

TEST_CASE("quantize_file: a float model becomes, to the byte, the model encoded in memory") {
  for (const bool tied : {false, true}) {
    for (const std::string_view format : gguf_format_names()) {
      CAPTURE(format);
      const temporary_folder folder;
      tiny_llama({.config = small_config(), .tied = tied}).write(folder / "f32.gguf");
      quantize_options options = all_in(format);
      if (tied) {
        options.head.clear();
      }
      quantize_file(folder / "f32.gguf", folder / "out.gguf", options);
      check_tensors(folder / "out.gguf",
                    tiny_llama({.config = small_config(), .format = format, .tied = tied}));
    }
  }
}

TEST_CASE("quantize_file: embedding, head and norms have their own say") {
  const temporary_folder folder;
  const tiny_llama tiny({.config = small_config()});
  tiny.write(folder / "f32.gguf");
  quantize_file(folder / "f32.gguf", folder / "out.gguf", {.linear = "q4_1", .head = "q8_0"});
  const tiny_llama q4_1({.config = small_config(), .format = "q4_1"});
  const tiny_llama q8_0({.config = small_config(), .format = "q8_0"});
  tiny_llama wanted = tiny;
  for (std::size_t n = 0; n < wanted.tensors.size(); ++n) {
    const tensor_role role = tiny.tensors[n].role;
    if (role == tensor_role::linear || role == tensor_role::head) {
      wanted.tensors[n] = (role == tensor_role::linear ? q4_1 : q8_0).tensors[n];
    }
  }
  check_tensors(folder / "out.gguf", wanted);

  // Norms of another format become f32.
  tiny_llama half = tiny;
  for (tiny_llama::tensor& t : half.tensors) {
    if (t.role == tensor_role::norm) {
      t.weight = pack("bf16", t.weight.decoded(), 1, t.shape[0]);
      t.type = zoq::bf16_format::gguf_type;
    }
  }
  half.write(folder / "half.gguf");
  quantize_file(folder / "half.gguf", folder / "out.gguf", {});
  const zoq::llama model = zoq::llama::open(folder / "out.gguf");
  for (const zoq::model_tensor& t : model.tensors()) {
    CHECK(t.weight.format().name == "f32");
  }
}

TEST_CASE("quantize_file: the wanted format is copied, not encoded again") {
  // Random blocks rarely use the ends of their range, so that encoding them again changes them.
  const temporary_folder folder;
  tiny_llama tiny({.config = small_config(), .format = "q4_1"});
  for (tiny_llama::tensor& t : tiny.tensors) {
    if (t.role == tensor_role::linear) {
      auto* bytes = reinterpret_cast<unsigned char*>(t.weight.bytes->data());
      for (std::size_t i = 0; i < t.weight.bytes->size(); ++i) {
        bytes[i] = i % 20 < 4 ? bytes[i] : static_cast<unsigned char>(0x66 + i % 3);
      }
    }
  }
  tiny.write(folder / "in.gguf");
  const auto changes = quantize_file(folder / "in.gguf", folder / "out.gguf",
                                     {.linear = "q4_1", .embedding = "q4_0"});
  const model_file before = open_gguf(folder / "in.gguf");
  const model_file after = open_gguf(folder / "out.gguf");
  for (const tensor_change& t : changes) {
    CAPTURE(t.name);
    CHECK((bytes_of(before, t.name) == bytes_of(after, t.name)) ==
          (t.role != tensor_role::embedding));
    CHECK((t.error.relative() > 0) == (t.role == tensor_role::embedding));
  }
}

TEST_CASE("quantize_file: reports each tensor's formats, sizes and error") {
  const temporary_folder folder;
  const tiny_llama tiny({.config = small_config()});
  tiny.write(folder / "in.gguf");
  index_t told = 0, announced = 0;
  const auto changes = quantize_file(folder / "in.gguf", folder / "out.gguf", all_in("q4_0"),
                                     [&](index_t done, index_t all) {
                                       CHECK(done > told);
                                       told = done;
                                       announced = all;
                                     });
  const model_file before = open_gguf(folder / "in.gguf");
  const model_file after = open_gguf(folder / "out.gguf");
  const zoq::llama was = zoq::llama::open(folder / "in.gguf");
  const zoq::llama is = zoq::llama::open(folder / "out.gguf");
  REQUIRE(changes.size() == tiny.tensors.size());
  index_t weights = 0;
  for (std::size_t n = 0; n < changes.size(); ++n) {
    const tensor_change& t = changes[n];
    const auto number = static_cast<index_t>(n);
    CAPTURE(t.name);
    CHECK(t.name == tiny.tensors[n].name);
    CHECK(t.role == tiny.tensors[n].role);
    CHECK(t.from == "f32");
    CHECK(t.to == is.tensor(number).weight.format().name);
    CHECK(t.weights == is.tensor(number).weight.rows() * is.tensor(number).weight.columns());
    CHECK(t.bytes_before == before.tensor(t.name).byte_count);
    CHECK(t.bytes_after == after.tensor(t.name).byte_count);
    const std::vector<float> x = tiny.tensors[n].weight.decoded();
    std::vector<float> y(x.size());
    is.tensor(number).weight.visit([&](const auto& w) {
      for (index_t o = 0; o < w.shape[0]; ++o) {
        decode_row(w, o, y.data() + o * w.shape[1]);
      }
    });
    double squares = 0, differences = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double old = static_cast<double>(x[i]), now = static_cast<double>(y[i]);
      squares += old * old;
      differences += (now - old) * (now - old);
    }
    CHECK(t.error.relative() == doctest::Approx(std::sqrt(differences / squares)).epsilon(1e-12));
    weights += t.weights;
  }
  CHECK(told == weights);
  CHECK(announced == weights);
}

TEST_CASE("quantize_file: metadata goes over, but for what must change") {
  const temporary_folder folder;
  tiny_llama tiny({.config = small_config()});
  tiny.metadata["general.name"] = "some name";
  tiny.metadata["general.file_type"] = std::uint32_t{0};
  tiny.metadata["general.alignmenX"] = std::uint32_t{32};
  tiny.write_with_tokenizer(folder / "in.gguf");
  std::string bytes = contents(folder / "in.gguf");
  bytes[bytes.find("alignmenX") + 8] = 't';  // the writer itself never writes it
  put(folder / "in.gguf", bytes);
  const model_file before = open_gguf(folder / "in.gguf");
  REQUIRE(before.has("general.alignment"));

  quantize_file(folder / "in.gguf", folder / "out.gguf", all_in("q4_1"));
  const model_file after = open_gguf(folder / "out.gguf");
  std::size_t same = 0;
  for (const zoq::gguf_value& was : before.metadata()) {
    for (const zoq::gguf_value& is : after.metadata()) {
      same += was.key == is.key && was.kind == is.kind && was.element == is.element &&
              was.count == is.count && std::ranges::equal(was.bytes, is.bytes);
    }
  }
  CHECK(same == before.metadata().size() - 2);  // all but file type and alignment
  CHECK(after.metadata().size() == before.metadata().size());
  CHECK(after.get_u64("general.file_type") == 3);
  CHECK(after.get_u64("general.quantization_version") == 2);
  CHECK_FALSE(after.has("general.alignment"));

  // Without a format for the linear matrices, their file type stays; floats need no version.
  quantize_file(folder / "in.gguf", folder / "same.gguf", {});
  const model_file unchanged = open_gguf(folder / "same.gguf");
  CHECK(unchanged.get_u64("general.file_type") == 0);
  CHECK_FALSE(unchanged.has("general.quantization_version"));
}

TEST_CASE("quantize_file: every format of the list has its file type") {
  // Names and numbers from the GGUF specification's table of general.file_type.
  CHECK(zoq::format_named("f32").gguf_file_type == 0);
  CHECK(zoq::format_named("f16").gguf_file_type == 1);
  CHECK(zoq::format_named("q4_0").gguf_file_type == 2);
  CHECK(zoq::format_named("q4_1").gguf_file_type == 3);
  CHECK(zoq::format_named("q8_0").gguf_file_type == 7);
  CHECK(zoq::format_named("bf16").gguf_file_type == 32);
}

TEST_CASE("quantize_file: refuses what it cannot do, names it, and writes nothing") {
  const temporary_folder folder;
  zoq::llama_config narrow = tiny_config();
  narrow.feed_forward = 40;
  CHECK(refusal(folder, tiny_llama({.config = narrow}), {.linear = "q4_1"}) ==
        "tensor blk.0.ffn_down.weight has 40 columns, no multiple of q4_1's block of 32");
  CHECK(refusal(folder, tiny_llama(), {.linear = "q4_2"})
            .starts_with("unknown format \"q4_2\": f32, f16, bf16, q8_0, q4_0, q4_1"));
  CHECK(refusal(folder, tiny_llama({.tied = true}), {.linear = "q4_1", .head = "q8_0"}) ==
        "the head is tied to the embedding and has no format of its own");
  tiny_llama other;
  other.metadata["general.architecture"] = "mamba";
  CHECK(refusal(folder, other, {.linear = "q4_1"}) ==
        "architecture \"mamba\" is not known: llama, gpt2, openelm");

  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float wrong : {nan, 1e9f}) {
    tiny_llama broken;
    auto& weight = broken.named("blk.1.ffn_up.weight").weight;
    std::vector<float> values = weight.decoded();
    values[3 * 32 + 7] = wrong;
    weight = pack("f32", values, 64, 32);
    const std::string place = "tensor blk.1.ffn_up.weight: the weight at row 3, column 7 is ";
    CHECK(refusal(folder, broken, {.linear = "q4_0"}) ==
          place + (wrong > 0 ? "1e+09, too large for q4_0" : "nan"));
  }
}

TEST_CASE("quantize_file: stopped, or over itself: the file in the way stays") {
  const temporary_folder folder;
  const std::string in = folder / "in.gguf", out = folder / "out.gguf";
  tiny_llama().write(in);
  put(out, "old");
  CHECK_THROWS_WITH_AS(quantize_file(in, out, {.linear = "q4_1"},
                                     [](index_t, index_t) { throw std::runtime_error("stopped"); }),
                       "stopped", std::runtime_error);
  CHECK(contents(out) == "old");
  CHECK(folder.entries() == 2);

  const std::string before = contents(in);
  std::filesystem::create_symlink(in, folder / "link.gguf");
  for (const std::string& path : {in, folder / "link.gguf", folder.path() + "/./in.gguf"}) {
    CHECK(message_of([&] { quantize_file(in, path, {.linear = "q4_1"}); }) ==
          in + ": cannot be written over itself");
  }
  CHECK(contents(in) == before);
}
