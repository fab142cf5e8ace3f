// SPDX-License-Identifier: Apache-2.0
#include "zoq/view/sparse.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "counting.hpp"
#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "model/tiny_llama.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/score/simple.hpp"
#include "zoq/sparse/top_k.hpp"
#include "zoq/view/view.hpp"

using zoq::index_t;
using zoq::query;
using namespace zoq::test;

namespace {

/// Some entries of three matrices; k = 11 is no multiple of 4.
zoq::mask some_places() {
  zoq::mask m;
  m.tensors.push_back({"blk.1.ffn_down.weight", 32, 64, {0, 63, 64, 100, 2047}});
  m.tensors.push_back({"blk.0.attn_q.weight", 32, 32, {5, 6, 37, 1023}});
  m.tensors.push_back({"blk.0.attn_v.weight", 16, 32, {}});
  m.tensors.push_back({"blk.0.attn_k.weight", 16, 32, {31, 32}});
  m.model_hash = "0123456789abcdef";
  m.about = {{"score", "by hand"}};
  return m;
}

constexpr index_t k = 11;
const std::vector<zoq::any_direction> directions = {zoq::gaussian{}, zoq::rademacher{}};

/// Branch b's values as they are handed out.
template <class View>
std::vector<float> branch_values(const View& view, index_t number, index_t b) {
  const auto part = view.branches().on(number).sparse;
  REQUIRE(part.has_value());
  const auto row = part->values.row(b);
  return {row.data, row.data + row.shape[0]};
}

float z_of(const zoq::any_direction& direction, zoq::seed_t seed, index_t i) {
  return std::visit([&](const auto& z) { return z.at(seed, {}).four(i / 4).at[i % 4]; }, direction);
}

}  // namespace

TEST_CASE_TEMPLATE("sparse_view: starts at the base, places are handed out by tensor number", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const zoq::llama model = tiny_llama().model();
  auto view = zoq::sparse_view(exec, model.tensors(), some_places());
  CHECK(view.values().shape[0] == k);
  for (index_t i = 0; i < k; ++i) {
    CHECK(view.values()(i) == 0);
  }
  CHECK(view.order().size == k);
  CHECK(view.order().count == 4);
  const index_t firsts[] = {0, 5, 9, 9};
  const index_t counts[] = {5, 4, 0, 2};
  for (index_t t = 0; t < 4; ++t) {
    CHECK(view.order().tensors[t].first == firsts[t]);
    CHECK(view.order().tensors[t].rows * view.order().tensors[t].columns == counts[t]);
  }
  const zoq::branch_parts all = view.branches();
  CHECK(all.count == 1);
  const auto layer_0 = zoq::llama_layer(0), layer_1 = zoq::llama_layer(1);
  const auto down = all.on(layer_1.down).sparse, query_part = all.on(layer_0.query).sparse,
             key = all.on(layer_0.key).sparse, value = all.on(layer_0.value).sparse;
  REQUIRE((down && query_part && key && value));
  const auto list = [](const auto& v) {
    return std::vector<std::int32_t>(v.data, v.data + v.shape[0]);
  };
  using numbers = std::vector<std::int32_t>;
  CHECK(list(down->row) == numbers{0, 0, 1, 1, 31});
  CHECK(list(down->column) == numbers{0, 63, 0, 36, 63});
  CHECK(list(query_part->row) == numbers{0, 0, 1, 31});
  CHECK(list(query_part->column) == numbers{5, 6, 5, 31});
  CHECK(list(key->column) == numbers{31, 0});
  CHECK(value->row.shape[0] == 0);
  CHECK(down->first == 0);
  CHECK(query_part->first == 5);
  CHECK(key->first == 9);
  index_t with_parts = 0;
  for (const zoq::parts& p : all.tensor) {
    with_parts += p.sparse.has_value() ? 1 : 0;
  }
  CHECK(with_parts == 4);
}

TEST_CASE_TEMPLATE("sparse_view: move_to gives origin + scale * shape * z(seed) in every branch", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const zoq::llama model = tiny_llama().model();
  auto view = zoq::sparse_view(exec, model.tensors(), some_places());
  const std::vector<float> values = uniform(k, 1), shape = uniform(k, 2, 0.5, 2),
                           origin = uniform(k, 3);
  exec.upload(values.data(), k, view.values().data);
  const std::vector<query> asked = {{},
                                    {.seed = 7, .scale = 1e-3},
                                    {.seed = 7, .scale = -1e-3},
                                    {.seed = 9, .scale = 0.25, .shape = shape.data()},
                                    {.seed = 9, .scale = 0.25, .origin = origin.data()},
                                    {.seed = ~zoq::seed_t{0},
                                     .scale = -2,
                                     .shape = shape.data(),
                                     .origin = origin.data(),
                                     .batch = 5},
                                    {.seed = 3, .scale = 0, .origin = origin.data()}};
  for (const auto& direction : directions) {
    CAPTURE(zoq::name_of(direction));
    view.move_to(exec, direction, asked);
    REQUIRE(view.branches().count == static_cast<index_t>(asked.size()));
    for (std::size_t b = 0; b < asked.size(); ++b) {
      const query& q = asked[b];
      const std::vector<float> got =
          branch_values(view, zoq::llama_layer(0).query, static_cast<index_t>(b));
      bool close = true;
      for (index_t i = 0; i < k; ++i) {
        const auto from = static_cast<double>(q.origin == nullptr ? values[at(i)] : origin[at(i)]);
        const double step = q.scale *
                            (q.shape == nullptr ? 1.0 : static_cast<double>(shape[at(i)])) *
                            static_cast<double>(z_of(direction, q.seed, i));
        // In double, rounded once to float: half an ulp, and a rounding of 2^-53 before it.
        close = close && std::fabs(static_cast<double>(got[at(i)]) - (from + step)) <=
                             0x1.0001p-24 * std::fabs(from + step);
      }
      CHECK(close);
    }
    CHECK(same_bits(branch_values(view, zoq::llama_layer(0).query, 0), values));
    CHECK(same_bits(branch_values(view, zoq::llama_layer(0).query, 6), origin));
    // The values themselves never move, so going back is exact.
    CHECK(same_bits(std::vector<float>(view.values().data, view.values().data + k), values));
    view.move_to_values(exec);
    CHECK(view.branches().count == 1);
    CHECK(same_bits(branch_values(view, zoq::llama_layer(0).query, 0), values));
  }
}

TEST_CASE("sparse_view: branches are pairs when all are, two by two, opposite") {
  const zoq::serial exec;
  const zoq::llama model = tiny_llama().model();
  auto view = zoq::sparse_view(exec, model.tensors(), some_places());
  CHECK_FALSE(view.branches().pairs);
  const query up{.seed = 1, .scale = 1e-2}, down{.seed = 1, .scale = -1e-2};
  const query other_up{.seed = 2, .scale = 1e-2}, other_down{.seed = 2, .scale = -1e-2};
  const auto pairs = [&](const std::vector<query>& asked) {
    view.move_to(exec, zoq::gaussian{}, asked);
    CHECK(view.branches().count == static_cast<index_t>(asked.size()));
    CHECK(view.branches().stack().count == view.branches().count);
    CHECK(view.branches().stack().pairs == view.branches().pairs);
    return view.branches().pairs;
  };
  CHECK(pairs({up, down}));
  CHECK(pairs({down, up, other_up, other_down}));
  CHECK_FALSE(pairs({up}));
  CHECK_FALSE(pairs({{}, up, down}));
  CHECK_FALSE(pairs({up, other_up, down, other_down}));
  CHECK_FALSE(pairs({up, down, other_up, up}));
  CHECK_FALSE(pairs({{}, up, down, other_up}));
  CHECK_FALSE(pairs({{}, {}}));
  CHECK(pairs({up, down}));
  view.move_to_values(exec);
  CHECK_FALSE(view.branches().pairs);
}

TEST_CASE("sparse_view: a branch has the same bits alone and among others, on any executor") {
  const zoq::serial serial;
  const zoq::llama model = tiny_llama().model();
  const zoq::mask places = zoq::top_k(zoq::random_score(model.tensors(), 1), {.density = 0.1});
  const std::vector<query> asked = {{.seed = 1, .scale = 1e-2}, {.seed = 2, .scale = 1e-2}};
  const index_t number = zoq::llama_layer(1).gate;
  for (const auto& direction : directions) {
    auto view = zoq::sparse_view(serial, model.tensors(), places);
    view.move_to(serial, direction, std::span(asked).subspan(1));
    const std::vector<float> alone = branch_values(view, number, 0);
    view.move_to(serial, direction, asked);
    CHECK(same_bits(branch_values(view, number, 1), alone));
    for (const int threads : {1, 2, 3}) {
      const zoq::cpu exec{{.threads = threads}};
      auto other = zoq::sparse_view(exec, model.tensors(), places);
      other.move_to(exec, direction, asked);
      // Fused operations of the wider instruction sets change what is rounded before the last
      // rounding to float: at most one unit in the last place.
      CHECK(largest_difference(branch_values(other, number, 1), alone) <= 0x1p-27);
    }
  }
}

TEST_CASE_TEMPLATE("sparse_view: to_delta and back", X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  const zoq::llama model = tiny_llama().model();
  const zoq::mask places = some_places();
  auto view = zoq::sparse_view(exec, model.tensors(), places);
  const std::vector<float> values = uniform(k, 4);
  exec.upload(values.data(), k, view.values().data);
  const zoq::delta d = view.to_delta();
  CHECK(d.places.tensors == places.tensors);
  CHECK(d.places.model_hash == places.model_hash);
  CHECK(d.places.about == places.about);
  CHECK(same_bits(d.values, values));
  auto again = zoq::sparse_view(exec, model.tensors(), d);
  CHECK(same_bits(again.to_delta().values, values));
  CHECK(same_bits(branch_values(again, zoq::llama_layer(0).query, 0), values));
}

TEST_CASE("sparse_view: a view may be moved, its parts stay valid") {
  const zoq::serial exec;
  const zoq::llama model = tiny_llama().model();
  auto first = zoq::sparse_view(exec, model.tensors(), some_places());
  const query asked{.seed = 1, .scale = 1};
  first.move_to(exec, zoq::gaussian{}, {&asked, 1});
  const std::vector<float> before = branch_values(first, zoq::llama_layer(0).query, 0);
  const zoq::laid_out_view<zoq::serial, zoq::sparse_layout<zoq::serial>> second = std::move(first);
  CHECK(same_bits(branch_values(second, zoq::llama_layer(0).query, 0), before));
  CHECK(second.order().tensors[1].first == 5);
}

TEST_CASE("sparse_view: an empty mask is a view of nothing") {
  const zoq::cpu exec;
  const zoq::llama model = tiny_llama().model();
  auto view = zoq::sparse_view(exec, model.tensors(), zoq::mask{});
  const query asked{.seed = 1, .scale = 1};
  view.move_to(exec, zoq::gaussian{}, {&asked, 1});
  CHECK(view.order().size == 0);
  CHECK(view.to_delta().values.empty());
  CHECK(view.byte_count() == 0);
}

TEST_CASE("sparse_view: masks that do not fit the model are refused") {
  const zoq::serial exec;
  const zoq::llama model = tiny_llama().model();
  const auto error = [&](const zoq::tensor_mask& t) {
    zoq::mask m;
    m.tensors.push_back(t);
    return message_of([&] { auto view = zoq::sparse_view(exec, model.tensors(), m); });
  };
  CHECK(error({"blk.0.attn_q.weight", 32, 32, {1}}) == "");
  CHECK(error({"blk.2.attn_q.weight", 32, 32, {1}}) ==
        "mask: the model has no tensor blk.2.attn_q.weight");
  CHECK(error({"blk.0.attn_k.weight", 32, 16, {1}}) ==
        "mask: blk.0.attn_k.weight is 32 x 16, the model's is 16 x 32");
  for (const char* name :
       {"blk.0.attn_norm.weight", "output_norm.weight", "token_embd.weight", "output.weight"}) {
    CHECK(error({name, 1, 32, {1}}) ==
          std::string("mask: ") + name + " is not the matrix of a linear layer");
  }
  // A mask made by hand: places outside the matrix would be written and read.
  CHECK(error({"blk.0.attn_q.weight", 32, 32, {1, 1024}}) ==
        "mask: blk.0.attn_q.weight: index 1024 at place 1 is outside 32 x 32");
  CHECK(error({"blk.0.attn_q.weight", 32, 32, {-1}}) ==
        "mask: blk.0.attn_q.weight: index -1 at place 0 does not ascend from -1");
  zoq::mask twice = some_places();
  twice.tensors.push_back(twice.tensors[0]);
  CHECK(message_of([&] { auto view = zoq::sparse_view(exec, model.tensors(), twice); }) ==
        "mask: blk.1.ffn_down.weight comes twice");

  zoq::delta d{some_places(), std::vector<float>(10)};
  CHECK(message_of([&] { auto view = zoq::sparse_view(exec, model.tensors(), d); }) ==
        "delta: 10 values for 11 places");
  auto view = zoq::sparse_view(exec, model.tensors(), some_places());
  CHECK(message_of([&] { view.move_to(exec, zoq::gaussian{}, {}); }) ==
        "sparse: no branch to move to");
}

TEST_CASE("R8: byte_count is what was allocated") {
  const counting exec;
  const zoq::llama model = tiny_llama().model();
  const index_t before = counted_space::live;
  {
    auto view = zoq::sparse_view(exec, model.tensors(), some_places());
    CHECK(view.byte_count() == counted_space::live - before);
    CHECK(view.byte_count() == 3 * 64);  // 44 bytes each, in whole cache lines
    for (const std::size_t branches : {8u, 2u, 9u}) {
      const std::vector<query> asked(branches);
      view.move_to(exec, zoq::gaussian{}, asked);
      CHECK(view.byte_count() == counted_space::live - before);
    }
  }
  CHECK(counted_space::live == before);
}

TEST_CASE("R8: at 0.1 % the linear part takes at most 0.35 of its size in f16") {
  const zoq::serial exec;
  const zoq::llama model = tiny_llama({.config = small_config(), .format = "q4_1"}).model();
  const zoq::mask places = zoq::top_k(zoq::magnitude(model.tensors()), {.density = 0.001});
  auto view = zoq::sparse_view(exec, model.tensors(), places);
  view.move_to(exec, zoq::gaussian{}, std::vector<query>(2));
  index_t bytes = view.byte_count();
  for (const zoq::model_tensor& t : model.tensors()) {
    bytes += t.role == zoq::tensor_role::linear ? t.weight.byte_count() : 0;
  }
  const auto in_f16 = 2.0 * static_cast<double>(zoq::linear_weights(model.tensors()));
  CHECK(static_cast<double>(bytes) <= 0.35 * in_f16);
}

TEST_CASE("R5: one argument sets the size of the subset, counts are exact") {
  const zoq::serial exec;
  const zoq::llama model = tiny_llama({.config = small_config()}).model();
  for (const auto& pair : {std::pair{0.1, 10}, {0.01, 100}, {0.001, 1000}, {0.0001, 10000}}) {
    const double density = pair.first;
    const index_t one_in = pair.second;
    index_t each = 0;
    for (const zoq::model_tensor& t : model.tensors()) {
      each +=
          t.role == zoq::tensor_role::linear ? t.weight.rows() * t.weight.columns() / one_in : 0;
    }
    const zoq::magnitude scores(model.tensors());
    const auto count = [&](zoq::scope per) {
      const zoq::mask m = zoq::top_k(scores, {.density = density, .per = per});
      return zoq::sparse_view(exec, model.tensors(), m).order().size;
    };
    CHECK(count(zoq::scope::matrix) == each);
    CHECK(count(zoq::scope::global) == zoq::linear_weights(model.tensors()) / one_in);
  }
}
