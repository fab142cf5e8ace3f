// SPDX-License-Identifier: Apache-2.0
#include "zoq/model/llama_memory.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "counting.hpp"
#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "tiny_llama.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/model/llama_forward.hpp"

using zoq::index_t;
using zoq::llama;
using namespace zoq::test;

namespace {

zoq::format_info format(std::string_view name) { return *zoq::find_format(name); }

}  // namespace

TEST_CASE("weights_of: the stored bytes of a model, from its sizes and from its tensors") {
  zoq::formats::for_each([]<class S>(S) {
    if (32 % S::block_size != 0) {  // too wide for the tiny model
      return;
    }
    CAPTURE(S::name);
    for (const bool tied : {false, true}) {
      const llama model = tiny_llama({.format = S::name, .tied = tied}).model();
      const zoq::weight_formats in = {format(S::name), format(S::name), tied};
      CHECK(zoq::weights_of(model.config(), in).total() == model.byte_count());
      CHECK(zoq::weights_of(model.tensors()).total() == model.byte_count());
      // A copy of every tensor, as resident_weights makes it.
      index_t copies = 0;
      for (const zoq::model_tensor& t : model.tensors()) {
        copies += zoq::buffer_bytes<std::byte>(t.weight.byte_count());
      }
      CHECK(zoq::weights_of(model.config(), in).padding == copies - model.byte_count());
      CHECK(zoq::weights_of(model.tensors()).padding == copies - model.byte_count());
      // Another format for the linear layers: what a model has that is stored so.
      const llama other = tiny_llama({.format = "q8_0"}).model();
      const auto planned = zoq::weights_of(other.tensors(), format(S::name));
      CHECK(planned.linear == zoq::weights_of(model.tensors()).linear);
      CHECK(planned.embedding == zoq::weights_of(other.tensors()).embedding);
    }
  });
}

TEST_CASE("weights_of: a block that does not fit is refused, naming the matrix") {
  zoq::llama_config c = tiny_config();
  c.hidden = 40;
  CHECK(message_of([&] {
          static_cast<void>(zoq::weights_of(c, {format("q4_1"), format("f32")}));
        }) == "attn_q: 40 columns are no multiple of q4_1's block of 32");
}

TEST_CASE_TEMPLATE("forward_memory: what a forward pass takes, part by part summed", X,
                   ZOQ_TEST_EXECUTORS) {
  using counted = counting_on<X>;
  const counted exec;
  const llama model = tiny_llama({.config = small_config()}).model();
  // Rows of 10 tokens with two options of one or of three tokens, in several branches.
  for (const index_t branches : {1, 2, 3, 6}) {
    for (const bool pairs : {false, true}) {
      for (const index_t option_tokens : {1, 3}) {
        for (const index_t rows : {1, 3, 40}) {
          if (pairs && branches % 2 != 0) {
            continue;
          }
          CAPTURE(branches);
          CAPTURE(pairs);
          CAPTURE(option_tokens);
          CAPTURE(rows);
          zoq::packing batch;
          for (index_t r = 0; r < rows; ++r) {
            const index_t prompt = batch.add(some_tokens(10, 1, 300));
            batch.read(prompt, 9, 5);
            batch.read(prompt, 9, 6);
            for (int option = 0; option < 2 && option_tokens > 1; ++option) {
              const index_t more = batch.add(some_tokens(option_tokens - 1, 2, 300), prompt);
              for (index_t t = 0; t + 1 < option_tokens; ++t) {
                batch.read(more, t, 7);
              }
            }
          }
          const index_t before = counted_space::live;
          zoq::llama_forward<counted> pass(exec, model);
          std::vector<double> scores(batch.reads.size() * static_cast<std::size_t>(branches));
          pass.score(batch, {.count = branches, .tensor = {}, .pairs = pairs}, scores);
          const index_t behind = 2 * (option_tokens - 1);
          const zoq::pass_shape shape = {.branches = branches,
                                         .pairs = pairs,
                                         .rows = rows * (10 + behind),
                                         .read_rows = rows * (1 + behind),
                                         .reads = rows * (2 + behind),
                                         .segments = rows * (option_tokens > 1 ? 3 : 1),
                                         .positions = 10 + option_tokens - 1};
          CHECK(batch.rows() == shape.rows);
          const auto parts = zoq::forward_memory(model.config(), shape);
          CHECK(zoq::bytes_of(parts) == pass.byte_count());
          CHECK(zoq::bytes_of(parts) == counted_space::live - before);
        }
      }
    }
  }
}

#ifdef ZOQ_TEST_OMP
TEST_CASE("device_workspaces: what an executor on Thrust keeps after the products of a pass") {
  const zoq::llama_config c = small_config();
  for (const zoq::compute products : {zoq::compute::f32, zoq::compute::bf16}) {
    for (const index_t slice : {index_t{1} << 20, index_t{30'000}, index_t{1000}}) {
      for (const bool pairs : {false, true}) {
        CAPTURE(zoq::name_of(products));
        CAPTURE(slice);
        CAPTURE(pairs);
        // 41 rows of a branch take two blocks of 32; the head sees 64 rows, or 2 x 21.
        const zoq::pass_shape pass = {
            .branches = 4, .pairs = pairs, .rows = 41, .read_rows = pairs ? 21 : 40};
        const zoq::omp exec{{.products = products, .slice_bytes = slice}};
        const auto multiply = [&](index_t outputs, index_t columns, index_t rows,
                                  const zoq::branch_stack& stack, const zoq::sparse_part* part) {
          const std::vector<float> x(static_cast<std::size_t>(rows * columns));
          const std::vector<float> w(static_cast<std::size_t>(outputs * columns));
          std::vector<float> y(static_cast<std::size_t>(rows * outputs));
          const zoq::packed_view<zoq::f32_format> weight{
              reinterpret_cast<const zoq::f32_format::block*>(w.data()),
              nullptr,
              {outputs, columns}};
          const zoq::linear_layer layer{zoq::any_packed{weight}, part, {y.data(), {rows, outputs}}};
          exec.linear({x.data(), {rows, columns}}, stack, std::span(&layer, 1));
        };
        const std::vector<float> values(4);
        const std::int32_t place = 0;
        const zoq::sparse_part part{{&place, {1}}, {&place, {1}}, {values.data(), {4, 1}}, 0};
        for (const zoq::matrix_shape& m : zoq::layer_matrices(c)) {
          multiply(m.rows, m.columns, 4 * 41, {4, pairs}, &part);
        }
        multiply(c.vocabulary, c.hidden, pairs ? 42 : 64, {pairs ? 2 : 1, pairs}, nullptr);
        const auto planned = zoq::device_workspaces(c, pass, products, {slice, 0, 0});
        CHECK(exec.byte_count() == zoq::bytes_of(planned));
        CHECK(zoq::bytes_of(planned, "decoded weights") <= slice);
        CHECK(zoq::bytes_of(planned, "turned inputs") == 4 * 64 * 160 * 4);
        CHECK(zoq::bytes_of(planned, "rounded inputs") ==
              (products == zoq::compute::bf16 ? 4 * 41 * 160 * 2 : 0));
        // What few rows need no slice for: here all of the head's, or everything.
        const auto fewer = [&](index_t packed_rows) {
          return zoq::bytes_of(zoq::device_workspaces(c, pass, products, {slice, 0, packed_rows}),
                               "decoded weights");
        };
        CHECK(fewer(64) <= fewer(0));
        CHECK(fewer(4 * 41 - 1) == fewer(64));
        CHECK(fewer(4 * 41) == 0);
      }
    }
  }
}
#endif

TEST_CASE("workspace_memory: inputs of the widest product, rounded and turned") {
  using zoq::compute;
  using zoq::instruction_set;
  const zoq::llama_config c = small_config();  // widest: 160 columns
  const zoq::pass_shape pass = {.branches = 2, .rows = 20};
  const index_t turned = 160 * 2 * 32 * 4;  // 20 rows of a branch take two blocks of 16
  const auto rounded = [&](compute products, instruction_set set) {
    return zoq::workspace_memory(c, pass, products, set) - turned;
  };
  for (const auto set : {instruction_set::portable, instruction_set::avx512}) {
    CHECK(rounded(compute::f32, set) == 0);
  }
  CHECK(rounded(compute::bf16, instruction_set::avx2) == 40 * 160 * 4);
  CHECK(rounded(compute::bf16, instruction_set::avx512) == 40 * 160 * 2);
  CHECK(rounded(compute::i8, instruction_set::avx512) == (40 * 3 * 72 + 63) / 64 * 64);

  // What an executor really takes for a product of these inputs with a part.
  for (const auto set : zoq::all_instruction_sets) {
    for (const compute products : zoq::all_computes) {
      if (!zoq::supports(set)) {
        continue;
      }
      const zoq::cpu exec{{.threads = 1, .kernels = set, .products = products}};
      const std::vector<float> x(40 * 160), w(4 * 160), values(2);
      std::vector<float> y(40 * 4);
      const std::int32_t place = 0;
      const zoq::sparse_part part{{&place, {1}}, {&place, {1}}, {values.data(), {2, 1}}, 0};
      const zoq::packed_view<zoq::f32_format> weight{
          reinterpret_cast<const zoq::f32_format::block*>(w.data()), nullptr, {4, 160}};
      const zoq::linear_layer layer{zoq::any_packed{weight}, &part, {y.data(), {40, 4}}};
      exec.linear({x.data(), {40, 160}}, {2, true}, std::span(&layer, 1));
      CHECK(exec.byte_count() == zoq::workspace_memory(c, pass, products, set));
    }
  }
}
