// The formats against their reference packages: tests/golden/formats.py.
//
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "quant/encoding.hpp"
#include "zoq/quant/formats.hpp"

using namespace zoq::test;

namespace {

const nlohmann::json& goldens() {
  static const nlohmann::json all = [] {
    std::ifstream in(std::string(ZOQ_TEST_GOLDEN_DIR) + "/formats.json");
    return nlohmann::json::parse(in);
  }();
  return all;
}

template <class T>
std::vector<T> numbers(const nlohmann::json& hex) {
  const auto text = hex.get<std::string>();
  std::vector<unsigned char> bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<unsigned char>(std::stoi(text.substr(i, 2), nullptr, 16)));
  }
  std::vector<T> out(bytes.size() / sizeof(T));
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

}  // namespace

TEST_CASE_TEMPLATE("formats: decode to the bits of the reference package", S, zoq::q5_0, zoq::q5_1,
                   zoq::q4_k, zoq::q5_k, zoq::q6_k, zoq::nf4) {
  const auto& golden = goldens().at("decode").at(std::string(S::name));
  const auto blocks = numbers<typename S::block>(golden.at("blocks"));
  const auto wanted = numbers<float>(golden.at("values"));
  REQUIRE(!wanted.empty());
  const std::vector<float> y = decoded<S>(blocks);
  REQUIRE(y.size() == wanted.size());
  CHECK(std::memcmp(y.data(), wanted.data(), y.size() * sizeof(float)) == 0);
}

TEST_CASE_TEMPLATE("formats: encode to the blocks of the reference package", S, zoq::q5_0,
                   zoq::q5_1, zoq::nf4) {
  const auto& golden = goldens().at("encode").at(std::string(S::name));
  const auto wanted = numbers<typename S::block>(golden.at("blocks"));
  const auto blocks = encoded<S>(numbers<float>(golden.at("values")));
  REQUIRE(blocks.size() == wanted.size());
  CHECK(std::memcmp(blocks.data(), wanted.data(), blocks.size() * sizeof(wanted[0])) == 0);
}
