// SPDX-License-Identifier: Apache-2.0
#include "zoq/io/model_container.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "io/temporary_folder.hpp"
#include "zoq/io/gguf_writer.hpp"
#include "zoq/io/open_model_file.hpp"

using zoq::container_tensor;
using zoq::index_t;
using zoq::model_file;
using zoq::open_model_container;
using zoq::safetensor;
using namespace zoq::test;

namespace {

std::vector<std::byte> some_bytes(index_t n, int first) {
  std::vector<std::byte> out;
  for (index_t i = 0; i < n; ++i) {
    out.push_back(static_cast<std::byte>(first + 7 * static_cast<int>(i)));
  }
  return out;
}

std::string some_metadata() {
  zoq::gguf_writer out;
  out.set("general.architecture", "none");
  out.set("none.size", std::uint32_t{7});
  return out.metadata_bytes();
}

// The parts of a container, which may be broken before they are written.
struct pieces {
  std::vector<std::byte> lut4 = some_bytes(2 * 64 / 2, 1), tables = some_bytes(2 * 64, 2),
                         norm = some_bytes(3 * 4, 3);
  std::string gguf = some_metadata();
  std::map<std::string, std::string> about = {{"format", "zoq.model.1"},
                                              {"format w", "lut4"},
                                              {"shape w", "2 64"},
                                              {"format n", "f32"},
                                              {"shape n", "1 3"}};
  std::vector<safetensor> tensors() const {
    const auto u8 = [](const std::string& name, std::span<const std::byte> bytes) {
      return safetensor{name, "U8", {static_cast<index_t>(bytes.size())}, bytes};
    };
    return {u8("w.blocks", lut4), u8("w.rows", tables), u8("n.blocks", norm),
            u8("gguf.metadata", std::as_bytes(std::span<const char>(gguf)))};
  }
};

}  // namespace

TEST_CASE("model_container: what is written comes back, in order and in pieces") {
  const temporary_folder folder;
  const pieces p;
  const auto halves = [](const std::vector<std::byte>& bytes) {
    return [&bytes](const auto& put) {
      const std::size_t half = bytes.size() / 2;
      put(std::span(bytes).first(half));
      put(std::span(bytes).subspan(half));
    };
  };
  zoq::write_model_container(folder / "m", p.gguf,
                             {{"w", *zoq::find_format("lut4"), 2, 64, halves(p.lut4),
                               [&] { return std::span<const std::byte>(p.tables); }},
                              {"n", *zoq::find_format("f32"), 1, 3, halves(p.norm)}});
  // The same bytes as all at once: the form is as documented.
  zoq::write_safetensors(folder / "same", p.tensors(), p.about);
  CHECK(contents(folder / "m") == contents(folder / "same"));

  for (const model_file& file :
       {open_model_container(folder / "m"), zoq::open_model_file(folder / "m")}) {
    CHECK(file.path() == folder / "m");
    CHECK(file.get_u64("none.size") == 7);
    REQUIRE(file.tensors().size() == 2);
    CHECK(file.tensors()[0].name == "w");
    CHECK(file.tensors()[0].shape == std::vector<index_t>{64, 2});
    CHECK(file.tensors()[1].shape == std::vector<index_t>{3});
    CHECK(file.tensors()[0].type == zoq::no_gguf_type);
    const zoq::any_packed w = file.matrix("w");
    CHECK(w.format().name == "lut4");
    CHECK(std::memcmp(w.bytes(), p.lut4.data(), p.lut4.size()) == 0);
    CHECK(std::memcmp(w.row_data(), p.tables.data(), p.tables.size()) == 0);
    CHECK(std::memcmp(file.matrix("n").bytes(), p.norm.data(), p.norm.size()) == 0);
  }
}

TEST_CASE("model_container: too few bytes, or none: the file in the way stays") {
  const temporary_folder folder;
  put(folder / "m", "precious");
  const auto said = [&](index_t bytes) {
    return message_of([&] {
      zoq::write_model_container(folder / "m", some_metadata(),
                                 {{"n", *zoq::find_format("f32"), 1, 3,
                                   [&](const auto& put) { put(some_bytes(bytes, 0)); }}});
    });
  };
  CHECK(said(8) == folder / "m" + ": tensor n.blocks has 8 bytes, its shape needs 12");
  CHECK(said(16) == folder / "m" + ": tensor n.blocks has 16 bytes, its shape needs 12");
  CHECK(contents(folder / "m") == "precious");
  CHECK(folder.entries() == 1);
}

TEST_CASE("model_container: what is broken is refused by name") {
  const temporary_folder folder;
  const auto said = [&](const pieces& p, std::vector<safetensor> tensors) {
    zoq::write_safetensors(folder / "m", tensors, p.about);
    const std::string message = message_of([&] { open_model_container(folder / "m"); });
    CHECK(is_one_line(message));
    const std::string prefix = folder / "m" + ": ";
    CHECK(message.starts_with(prefix));
    return message.substr(std::min(message.size(), prefix.size()));
  };
  pieces p;
  CHECK(message_of([&] {
          zoq::write_safetensors(folder / "m", p.tensors(), p.about);
          open_model_container(folder / "m");
        }).empty());
  SUBCASE("another kind of file") {
    p.about["format"] = "zoq.mask.1";
    CHECK(said(p, p.tensors()) == "the format is \"zoq.mask.1\", wanted \"zoq.model.1\"");
  }
  SUBCASE("a format of another day") {
    p.about["format w"] = "lut2";
    CHECK(said(p, p.tensors()) == "tensor w is of unknown format \"lut2\"");
    p.about.erase("format w");
    CHECK(said(p, p.tensors()) == "metadata format w is missing");
  }
  SUBCASE("shapes") {
    p.about["shape w"] = "2 65";
    CHECK(said(p, p.tensors()) == "tensor w has 65 columns, no multiple of lut4's block of 32");
    p.about["shape w"] = "3 64";
    CHECK(said(p, p.tensors()) == "tensor w.blocks has 64 bytes of U8, wanted 96 of U8");
    p.about["shape w"] = "9223372036854775807 9223372036854775776";
    CHECK(said(p, p.tensors()) == "tensor w has more than 2^62 bytes");
    p.about["shape w"] = "-2 64";
    CHECK(said(p, p.tensors()).find("wanted \"ROWS COLUMNS\"") != std::string::npos);
  }
  SUBCASE("rows") {
    p.tables.resize(127);
    CHECK(said(p, p.tensors()) == "tensor w.rows has 127 bytes of U8, wanted 128 of U8");
    auto tensors = p.tensors();
    tensors.erase(tensors.begin() + 1);
    CHECK(said(p, tensors) == "tensor w.rows is missing");
  }
  SUBCASE("more than there should be") {
    auto tensors = p.tensors();
    tensors.push_back({"x.rows", "U8", {0}, {}});
    CHECK(said(p, tensors) == "1 tensors belong to no blocks");
    tensors.back().name = "x";
    CHECK(said(p, tensors) == "tensor x is not part of a zoq.model.1 file");
  }
  SUBCASE("another type") {
    auto tensors = p.tensors();
    tensors[0].dtype = "I8";
    CHECK(said(p, tensors) == "tensor w.blocks has 64 bytes of I8, wanted 64 of U8");
  }
  SUBCASE("metadata") {
    auto tensors = p.tensors();
    tensors.pop_back();
    CHECK(said(p, tensors) == "tensor gguf.metadata is missing");
    p.gguf.resize(30);
    CHECK(said(p, p.tensors()).starts_with("gguf.metadata: cut short"));
    zoq::gguf_writer with_tensor;
    with_tensor.add_tensor("t", {3}, 0, p.norm);
    with_tensor.write(folder / "t");
    p.gguf = contents(folder / "t");
    CHECK(said(p, p.tensors()) == "gguf.metadata has tensors of its own");
  }
}

TEST_CASE("open_model_file: a file is told by its first bytes") {
  const temporary_folder folder;
  zoq::gguf_writer out;
  out.set("a", std::uint32_t{1});
  out.write(folder / "m.safetensors");  // whatever its name
  CHECK(zoq::open_model_file(folder / "m.safetensors").get_u64("a") == 1);
  put(folder / "short", "GGU");
  CHECK(message_of([&] { zoq::open_model_file(folder / "short"); }) ==
        folder / "short" + ": not a GGUF file");
  CHECK(message_of([&] {
          zoq::open_model_file(folder / "none");
        }).starts_with(folder / "none" + ": cannot open"));
  CHECK(message_of([&] {
          zoq::open_model_file(folder.path());
        }).starts_with(folder.path() + "/config.json: cannot open"));
}
