// SPDX-License-Identifier: Apache-2.0
#include "zoq/view/delta.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "io/temporary_folder.hpp"
#include "model/tiny_llama.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/io/safetensors.hpp"
#include "zoq/view/sparse.hpp"

using zoq::index_t;
using zoq::safetensor;
using zoq::safetensor_of;
using namespace zoq::test;

namespace {

zoq::delta some_delta() {
  zoq::delta d;
  d.places.tensors.push_back({"blk.0.attn_q.weight", 32, 32, {0, 5, 1023}});
  d.places.tensors.push_back({"blk.1.attn_v.weight", 16, 32, {}});
  d.places.tensors.push_back({"blk.1.ffn_up.weight", 64, 32, {7, 2047}});
  d.places.model_hash = "0123456789abcdef";
  d.values = {0.1f, -0.0f, 1e-40f, -3.5f, 3.4e38f};  // a zero's sign and a subnormal count too
  return d;
}

/// The message for a file of these tensors and metadata, without the path it must start with.
std::string error_of(const std::vector<safetensor>& tensors,
                     const std::map<std::string, std::string>& metadata) {
  const temporary_folder folder;
  const std::string path = folder / "d.safetensors";
  zoq::write_safetensors(path, tensors, metadata);
  const std::string message = message_of([&] { zoq::read_delta(path); });
  CHECK(is_one_line(message));
  CHECK_MESSAGE(message.rfind(path + ": ", 0) == 0, message);
  return message.substr(std::min(message.size(), path.size() + 2));
}

}  // namespace

TEST_CASE("delta: what is written comes back, to the bit") {
  const temporary_folder folder;
  const zoq::delta d = some_delta();
  zoq::write_delta(folder / "d", d, {{"steps", "400"}});
  const zoq::delta got = zoq::read_delta(folder / "d");
  CHECK(got.places.tensors == d.places.tensors);
  CHECK(got.places.model_hash == d.places.model_hash);
  CHECK(got.places.hash() == d.places.hash());
  CHECK(same_bits(got.values, d.values));
  const auto file = zoq::safetensors_file::open(folder / "d");
  CHECK(file.metadata("steps") == "400");
  CHECK(file.metadata("format") == "zoq.delta.1");
  CHECK(file.metadata("shape blk.1.attn_v.weight") == "16 32");
  CHECK(file.tensor("blk.0.attn_q.weight.index").dtype == "I32");
  CHECK(file.tensor("blk.0.attn_q.weight.offset").dtype == "F32");
  const std::string bytes = contents(folder / "d");
  zoq::write_delta(folder / "d", d, {{"steps", "400"}});
  CHECK(contents(folder / "d") == bytes);
}

TEST_CASE("delta: a view's values as a file, and a view that starts from it") {
  const temporary_folder folder;
  const zoq::serial exec;
  const zoq::llama model = tiny_llama().model();
  zoq::delta d = some_delta();
  d.places.model_hash = model.hash();
  const auto view = zoq::sparse_view(exec, model.tensors(), d);
  zoq::save_delta(folder / "d", view);
  const zoq::delta got = zoq::read_delta(folder / "d");
  CHECK(got.places.model_hash == model.hash());
  const auto again = zoq::sparse_view(exec, model.tensors(), got);
  CHECK(same_bits(again.to_delta().values, d.values));
  CHECK(again.to_delta().places.tensors == d.places.tensors);
}

TEST_CASE("delta: values and places of other numbers are not written") {
  const temporary_folder folder;
  zoq::delta d = some_delta();
  d.values.pop_back();
  CHECK(message_of([&] { zoq::write_delta(folder / "d", d); }) ==
        folder / "d" + ": 4 values for 5 places");
  CHECK(folder.entries() == 0);
}

TEST_CASE("delta: values that are no finite numbers are refused, naming file and tensor") {
  const temporary_folder folder;
  for (const float bad : {std::nanf(""), HUGE_VALF, -HUGE_VALF}) {
    zoq::delta d = some_delta();
    d.values[3] = 12345.0f;
    zoq::write_delta(folder / "d", d);
    const std::string before = contents(folder / "d");
    const std::string wanted =
        zoq::text(folder / "d", ": blk.1.ffn_up.weight.offset: value 0 is ", bad);
    d.values[3] = bad;
    CHECK(message_of([&] { zoq::write_delta(folder / "d", d); }) == wanted);
    CHECK(contents(folder / "d") == before);
    replace_in(folder / "d", 12345.0f, bad);
    CHECK(message_of([&] { zoq::read_delta(folder / "d"); }) == wanted);
  }
}

TEST_CASE("delta: foreign and broken files are refused, naming file and tensor") {
  const std::vector<std::int32_t> index = {1, 2}, descending = {2, 1}, outside = {1, 9};
  const std::vector<float> offset = {0.5f, 1};
  const std::vector<double> in_double = {0.5, 1};
  const std::map<std::string, std::string> good = {
      {"format", "zoq.delta.1"}, {"model", "m"}, {"shape w", "3 3"}};
  const auto with = [&](const std::string& key, const std::string& value) {
    auto m = good;
    m[key] = value;
    return m;
  };
  const auto without = [&](const std::string& key) {
    auto m = good;
    m.erase(key);
    return m;
  };
  const safetensor places = safetensor_of<std::int32_t>("w.index", {2}, index);
  const safetensor values = safetensor_of<float>("w.offset", {2}, offset);
  {
    const temporary_folder folder;
    zoq::write_safetensors(folder / "d", std::vector{places, values}, good);
    CHECK(zoq::read_delta(folder / "d").values == offset);
  }
  CHECK(error_of({places, values}, with("format", "zoq.mask.1")) ==
        "the format is \"zoq.mask.1\", wanted \"zoq.delta.1\"");
  CHECK(error_of({places, values}, without("format")) == "metadata format is missing");
  CHECK(error_of({places, values}, without("model")) == "metadata model is missing");
  CHECK(error_of({places, values}, without("shape w")) == "metadata shape w is missing");
  CHECK(error_of({places, values}, with("shape w", "3")) ==
        "the shape of w is \"3\", wanted \"ROWS COLUMNS\"");
  CHECK(error_of({places}, good) == "tensor w.offset is missing");
  CHECK(error_of({places, safetensor_of<double>("w.offset", {2}, in_double)}, good) ==
        "tensor w.offset is of dtype F64, wanted F32");
  CHECK(error_of({places, safetensor_of<float>("w.offset", {1}, std::span(offset).first(1))},
                 good) == "w has 1 offsets for 2 places");
  CHECK(error_of({safetensor_of<std::int32_t>("w.index", {2}, descending), values}, good) ==
        "mask: w: index 1 at place 1 does not ascend from 2");
  CHECK(error_of({safetensor_of<std::int32_t>("w.index", {2}, outside), values}, good) ==
        "mask: w: index 9 at place 1 is outside 3 x 3");
  CHECK(error_of({places, values, safetensor_of<float>("v.offset", {2}, offset)}, good) ==
        "tensor v.offset belongs to no places");
  CHECK(error_of({places, values, safetensor_of<float>("v", {2}, offset)}, good) ==
        "tensor v belongs to no places");
}
