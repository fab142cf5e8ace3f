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
#include "tiny_hf.hpp"
#include "tiny_llama.hpp"
#include "zoq/io/gguf.hpp"
#include "zoq/io/mask_file.hpp"
#include "zoq/io/open_model_file.hpp"
#include "zoq/model/open.hpp"
#include "zoq/view/delta.hpp"

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
void check_tensors(const model_file& file, const tiny_llama& tiny) {
  REQUIRE(file.tensors().size() == tiny.tensors.size());
  for (std::size_t n = 0; n < tiny.tensors.size(); ++n) {
    const tiny_llama::tensor& wanted = tiny.tensors[n];
    CAPTURE(wanted.name);
    CHECK(file.tensors()[n].name == wanted.name);
    CHECK(file.tensors()[n].shape == wanted.shape);
    CHECK(file.tensors()[n].type == wanted.type);
    const zoq::any_packed is = file.matrix(wanted.name), was = wanted.weight.view;
    REQUIRE(is.byte_count() == was.byte_count());
    const auto in_rows = static_cast<std::size_t>(is.rows() * is.format().row_bytes);
    const auto in_blocks = static_cast<std::size_t>(is.byte_count()) - in_rows;
    CHECK(std::memcmp(is.bytes(), was.bytes(), in_blocks) == 0);
    CHECK((in_rows == 0 || std::memcmp(is.row_data(), was.row_data(), in_rows) == 0));
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
    for (const std::string_view format : format_names()) {
      CAPTURE(format);
      const temporary_folder folder;
      tiny_llama({.config = small_config(), .tied = tied}).write(folder / "f32.gguf");
      quantize_options options = all_in(format);
      if (tied) {
        options.head.clear();
      }
      const tiny_llama wanted({.config = small_config(), .format = format, .tied = tied});
      if (zoq::find_format(format)->gguf_type != zoq::no_gguf_type) {
        quantize_file(folder / "f32.gguf", folder / "out.gguf", options);
        check_tensors(zoq::open_model_file(folder / "out.gguf"), wanted);
      }
      quantize_file(folder / "f32.gguf", folder / "out.safetensors", options);
      const model_file container = zoq::open_model_file(folder / "out.safetensors");
      check_tensors(container, wanted);
      CHECK(zoq::open_model(folder / "out.safetensors").hash() == wanted.model().hash());
      CHECK(container.metadata().size() >= wanted.metadata.size());
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
  check_tensors(open_gguf(folder / "out.gguf"), wanted);

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

namespace {

std::vector<float> decoded(const zoq::any_packed& w) {
  std::vector<float> out(static_cast<std::size_t>(w.rows() * w.columns()));
  w.visit([&](const auto& p) {
    for (index_t o = 0; o < w.rows(); ++o) {
      decode_row(p, o, out.data() + o * w.columns());
    }
  });
  return out;
}

// About one place in a hundred of some matrices, and one whole block.
zoq::mask some_places(const zoq::llama& model) {
  zoq::mask out;
  out.model_hash = model.hash();
  for (const char* name : {"blk.0.attn_q.weight", "blk.1.ffn_down.weight", "blk.2.attn_k.weight"}) {
    const zoq::any_packed& w = model.tensor(find_tensor(model.tensors(), name)).weight;
    out.tensors.push_back({name, w.rows(), w.columns(), {}});
    for (index_t i = 0; i < w.rows() * w.columns(); ++i) {
      if (i / 32 == 2 || random_word(3, i) % 100 == 0) {
        out.tensors.back().index.push_back(static_cast<std::int32_t>(i));
      }
    }
  }
  return out;
}

}  // namespace

TEST_CASE(
    "quantize_file: kept values come back to the bit, the others are as if these mattered not") {
  for (const char* format : {"q4_1", "q5_k", "lut4", "lut3", "f16"}) {
    CAPTURE(format);
    const temporary_folder folder;
    zoq::llama_config config = small_config();
    config.hidden = config.feed_forward = 256;  // whole blocks of every format
    config.heads = 4;
    config.head_size = 64;
    const tiny_llama tiny({.config = config});
    tiny.write(folder / "m.gguf");
    const zoq::llama old = zoq::llama::open(folder / "m.gguf");
    const zoq::mask places = some_places(old);
    zoq::write_mask(folder / "mask", places);
    const std::string out = folder / "out.safetensors";
    const auto changes =
        quantize_file(folder / "m.gguf", out, {.linear = format, .keep = folder / "mask"});
    const zoq::llama made = zoq::open_model(out);
    const zoq::delta kept = zoq::read_delta(zoq::kept_path(out));
    CHECK(kept.places.model_hash == made.hash());
    CHECK(kept.places.hash() == places.hash());
    std::size_t next = 0;
    for (std::size_t n = 0; n < changes.size(); ++n) {
      const auto number = static_cast<index_t>(n);
      const zoq::any_packed& was = old.tensor(number).weight;
      const zoq::any_packed& is = made.tensor(number).weight;
      const std::vector<float> x = decoded(was);
      std::vector<float> y = decoded(is);
      std::vector<float> importance(x.size(), 1.0f);
      double alone = 0, with_kept = 0, squares = 0;
      const auto* t = std::find_if(places.tensors.data(), places.tensors.data() + 3,
                                   [&](const auto& m) { return m.tensor == changes[n].name; });
      const bool any = t != places.tensors.data() + 3;
      CHECK(changes[n].kept == (any ? static_cast<index_t>(t->index.size()) : 0));
      for (std::size_t i = 0; i < x.size(); ++i) {
        alone += std::pow(static_cast<double>(y[i]) - static_cast<double>(x[i]), 2);
        squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
      }
      for (std::size_t i = 0; any && i < t->index.size(); ++i) {
        const auto place = static_cast<std::size_t>(t->index[i]);
        y[place] += kept.values[next++];
        CHECK(y[place] == doctest::Approx(x[place]).epsilon(1e-6));
        importance[place] = 0;
        y[place] = x[place];
      }
      for (std::size_t i = 0; i < x.size(); ++i) {
        with_kept += std::pow(static_cast<double>(y[i]) - static_cast<double>(x[i]), 2);
      }
      CHECK(changes[n].error.relative() ==
            doctest::Approx(std::sqrt(alone / squares)).epsilon(1e-6));
      CHECK(changes[n].error_with_kept.relative() ==
            doctest::Approx(std::sqrt(with_kept / squares)).epsilon(1e-6));
      if (changes[n].role == tensor_role::linear) {
        const zoq::format_info after = is.format();
        std::vector<std::byte> blocks(
            static_cast<std::size_t>(after.bytes(is.rows(), is.columns())));
        std::vector<std::byte> own(static_cast<std::size_t>(is.rows() * after.row_bytes));
        zoq::encoding_error error;
        zoq::requantize(was, after, 0, was.rows(), "w", blocks, own, importance, error);
        CHECK(std::memcmp(blocks.data(), is.bytes(), blocks.size()) == 0);
        CHECK((own.empty() || std::memcmp(own.data(), is.row_data(), own.size()) == 0));
      }
    }
    CHECK(next == kept.values.size());
  }
}

TEST_CASE("quantize_file: a Hugging Face folder becomes the file that its GGUF file becomes") {
  const temporary_folder folder;
  const tiny_llama tiny({.config = small_config()});
  tiny.write(folder / "m.gguf");
  tiny_hf(tiny).write(folder / "m", 2);
  for (const std::string format : {"q4_1", "lut4", "f32"}) {
    CAPTURE(format);
    const std::string end = format == "lut4" ? ".safetensors" : ".gguf";
    quantize_file(folder / "m.gguf", folder / "a" + end, {.linear = format});
    quantize_file(folder / "m", folder / "b" + end, {.linear = format});
    CHECK(zoq::open_model(folder / "a" + end).hash() == zoq::open_model(folder / "b" + end).hash());
    CHECK_FALSE(zoq::open_model_file(folder / "b" + end).has("zoq.rotary_halves"));
  }

  // Kept places of query and key go with their rows.
  const zoq::llama old = zoq::llama::open(folder / "m.gguf");
  const zoq::mask places = some_places(old);
  zoq::mask turned = places;
  turned.model_hash = zoq::open_model(folder / "m").hash();
  for (zoq::tensor_mask& t : turned.tensors) {
    if (t.tensor.find("attn_") != std::string::npos) {
      for (std::int32_t& i : t.index) {
        const index_t row = hf_row(i / t.columns, small_config().head_size);
        i = static_cast<std::int32_t>(row * t.columns + i % t.columns);
      }
      std::sort(t.index.begin(), t.index.end());
    }
  }
  zoq::write_mask(folder / "places", places);
  zoq::write_mask(folder / "turned", turned);
  quantize_file(folder / "m.gguf", folder / "a.gguf",
                {.linear = "q4_0", .keep = folder / "places"});
  quantize_file(folder / "m", folder / "b.gguf", {.linear = "q4_0", .keep = folder / "turned"});
  const zoq::delta a = zoq::read_delta(zoq::kept_path(folder / "a.gguf"));
  const zoq::delta b = zoq::read_delta(zoq::kept_path(folder / "b.gguf"));
  CHECK(a.places.model_hash == b.places.model_hash);
  CHECK(a.places.hash() == b.places.hash());
  CHECK(a.values == b.values);
}

TEST_CASE("quantize_file: importance moves the table to where it lies") {
  const temporary_folder folder;
  const tiny_llama tiny({.config = small_config()});
  tiny.write(folder / "m.gguf");
  const std::string name = "blk.0.ffn_up.weight";
  const zoq::any_packed w = tiny.tensors[8].weight.view;
  REQUIRE(tiny.tensors[8].name == name);
  std::vector<float> importance(static_cast<std::size_t>(w.rows() * w.columns()), 1.0f);
  for (std::size_t i = 0; i < importance.size(); i += 7) {
    importance[i] = 100;
  }
  const auto write = [&](std::vector<index_t> shape) {
    const std::vector<zoq::safetensor> all = {
        zoq::safetensor_of<float>(name, std::move(shape), importance)};
    zoq::write_safetensors(folder / "importance", all);
  };
  write({w.rows(), w.columns()});
  const quantize_options plain = {.linear = "lut4"};
  quantize_options weighed = plain;
  weighed.importance = folder / "importance";
  const std::string out = folder / "out.safetensors";
  const auto before = quantize_file(folder / "m.gguf", out, plain);
  const auto after = quantize_file(folder / "m.gguf", out, weighed);
  for (std::size_t n = 0; n < before.size(); ++n) {
    CAPTURE(before[n].name);
    CHECK((before[n].error.relative() < after[n].error.relative()) == (before[n].name == name));
  }
  CHECK(after[8].error.weighted() < after[8].error.relative());
  importance[5] = -1;
  write({w.rows(), w.columns()});
  CHECK(message_of([&] {
          quantize_file(folder / "m.gguf", out, weighed);
        }).ends_with("the importance at row 0, column 5 is -1"));
  write({w.columns(), w.rows()});
  CHECK(message_of([&] {
          quantize_file(folder / "m.gguf", out, weighed);
        }).find("is not of the model's shape, 160 x 96") != std::string::npos);
}

TEST_CASE("quantize_file: a mask of another model, and a name that GGUF cannot have") {
  const temporary_folder folder;
  const tiny_llama tiny({.config = small_config()});
  tiny.write(folder / "m.gguf");
  zoq::mask places = some_places(zoq::llama::open(folder / "m.gguf"));
  const auto said = [&](const std::string& out) {
    zoq::write_mask(folder / "mask", places);
    const std::string message = message_of([&] {
      quantize_file(folder / "m.gguf", folder / out, {.linear = "lut4", .keep = folder / "mask"});
    });
    CHECK(folder.entries() == 2);
    return message;
  };
  CHECK(said("out.gguf") ==
        folder / "out.gguf" +
            ": lut4 is no format of GGUF files, wanted a name that ends in .safetensors");
  places.tensors[0].rows = 97;
  CHECK(said("out").ends_with("tensor blk.0.attn_q.weight is 97 x 96, the model's is 96 x 96"));
  places.tensors[0].tensor = "token_embd.weight";
  CHECK(said("out").ends_with("token_embd.weight is no matrix of a linear layer of the model"));
  places.model_hash = "0123456789abcdef";
  CHECK(said("out").find("made for another model") != std::string::npos);
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
    const std::string place = "blk.1.ffn_up.weight: the weight at row 3, column 7 is ";
    CHECK(refusal(folder, broken, {.linear = "q4_0"}) ==
          (wrong > 0 ? "tensor " + place + "1e+09, too large for q4_0" : place + "nan"));
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
          path + ": is read, and cannot be written over");
  }
  CHECK(contents(in) == before);
}
