// SPDX-License-Identifier: Apache-2.0
#include "zoq/train/plan.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "counting.hpp"
#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "tiny_task.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/model/llama_shapes.hpp"

namespace {
std::atomic<std::size_t> largest_request{0};  // of operator new, in this program
}

// The host's own memory is watched too: a vector of the model's size would be seen.
void* operator new(std::size_t bytes) {
  std::size_t before = largest_request.load();
  while (before < bytes && !largest_request.compare_exchange_weak(before, bytes)) {
  }
  if (void* p = std::malloc(bytes == 0 ? 1 : bytes); p != nullptr) {
    return p;
  }
  throw std::bad_alloc();
}
// Not inlined: g++ 12 would see free() beside `new` and warn of a pair that does not match.
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }

using zoq::example;
using zoq::index_t;
using zoq::llama;
using namespace zoq::test;

namespace {

using counted_cpu = counting_on<zoq::cpu>;

zoq::format_info format(std::string_view name) { return *zoq::find_format(name); }

// Rows of one length with two options, each of `option_tokens` tokens.
std::vector<example> even_rows(index_t count, index_t length, index_t option_tokens) {
  std::vector<example> out;
  for (index_t r = 0; r < count; ++r) {
    const auto tokens = [&](index_t n, zoq::seed_t seed) { return some_tokens(n, seed, 300); };
    const auto seed = static_cast<zoq::seed_t>(3 * r);
    out.push_back({tokens(length - 2 * (option_tokens - 1), seed),
                   {tokens(option_tokens, seed + 1), tokens(option_tokens, seed + 2)},
                   r % 2});
  }
  return out;
}

// A plan for M, as `zoq finetune` would tune it.
zoq::memory_plan plan_for_m(std::string_view linear) {
  const zoq::llama_shape m = zoq::llama_shape_named("135m");
  const zoq::llama_weights w = zoq::weights_of(m.config, {format(linear), format("q8_0"), m.tied});
  return zoq::plan_tuning(m.config, w, {.length = 64, .threads = 2, .tokens = 49152});
}

}  // namespace

TEST_CASE("plan: view, stepper and forward pass take what was planned, to the byte") {
  const counted_cpu exec;
  const llama model = tiny_llama({.config = small_config(), .format = "q4_1"}).model();
  zoq::mask places = zoq::top_k(zoq::magnitude(model.tensors()), {.density = 0.01});
  for (const index_t option_tokens : {1, 2}) {
    for (const index_t batch : {1, 4}) {
      for (const zoq::any_estimator& estimator :
           {zoq::any_estimator(zoq::spsa{}), zoq::any_estimator(zoq::spsa{.probes = 3}),
            zoq::any_estimator(zoq::spsa{.probes = 5}),
            zoq::any_estimator(zoq::spsa_one_sided{.probes = 2}),
            zoq::any_estimator(zoq::hizoo{.probes = 2}), zoq::any_estimator(zoq::svrg{.probes = 2}),
            zoq::any_estimator(zoq::conservative{.rate = 1e-3})}) {
        CAPTURE(option_tokens);
        CAPTURE(batch);
        const std::vector<example> rows = even_rows(8, 24, option_tokens);
        zoq::plan_request how = {.batch_size = batch, .length = 24, .density = 0.01};
        how.option_tokens = option_tokens;
        how.estimator = estimator;
        how.measures_epsilon = false;
        how.measured_rows = 0;
        how.state_floats = zoq::momentum::state_floats;
        const auto plan = zoq::plan_tuning(model.config(), zoq::weights_of(model.tensors()), how);
        const index_t before = counted_space::live;
        auto view = zoq::sparse_view(exec, model.tensors(), places);
        zoq::trainer run(exec, model, view, zoq::option_likelihood{}, estimator, with_state);
        run.start(rows, {.steps = 2, .batch_size = batch});
        run.advance();
        run.advance();
        CHECK(plan.trainable == places.count());
        CHECK(plan.bytes("places") + plan.bytes("values") + plan.bytes("branches") ==
              view.byte_count());
        const index_t kept = estimator.state_bytes(places.count());
        CHECK((kept == 0 || plan.bytes("estimator state") == kept));
        CHECK(plan.bytes("gradient") + plan.bytes("optimizer state") + kept ==
              run.steps().byte_count());
        index_t forward = 0;
        for (const char* part :
             {"norm gains", "streams", "queries", "keys and values", "gated units", "logits",
              "rotary table", "token batch", "likelihoods"}) {
          forward += plan.bytes(part);
        }
        CHECK(forward == run.pass().byte_count());
        // R8: and byte_count() is what was taken.
        CHECK(counted_space::live - before ==
              view.byte_count() + run.steps().byte_count() + run.pass().byte_count());
      }
    }
  }
}

#ifdef ZOQ_TEST_OMP
namespace {

// What `cuda` is beside its arithmetic: memory of its own, products of few rows without a slice, and
// a library's workspace. All of it is counted.
struct device_space : counted_space {
  static constexpr bool on_host = false;
};
struct device_back : zoq::omp_back {
  using space = device_space;
  static constexpr index_t most_packed_rows = 16;
  zoq::buffer<std::byte, space> library{1000};

  using zoq::omp_back::omp_back;
  template <class T, zoq::quant_scheme S>
  void multiply_packed(zoq::tensor_view<const T, 2> x, const zoq::packed_view<S>& w,
                       zoq::tensor_view<float, 2> y) const {
    zoq::with_multiply_block(x, w, y, [&]<class Task>(const Task& task) {
      for (index_t b = 0; b < task.blocks(); ++b) {
        zoq::host_blocks<Task>{task}(b);
      }
    });
  }
  [[nodiscard]] index_t byte_count() const { return library.byte_count(); }
};
using device = zoq::thrust_executor<device_back>;
static_assert(zoq::executor<device>);

}  // namespace

TEST_CASE("plan: on a device a run takes what was planned, to the byte") {
  const llama model = tiny_llama({.config = small_config(), .format = "q4_1"}).model();
  zoq::mask places = zoq::top_k(zoq::magnitude(model.tensors()), {.density = 0.05});
  for (const zoq::compute products : {zoq::compute::f32, zoq::compute::bf16}) {
    for (const bool measures : {false, true}) {
      // All of a matrix at once, or some 64 outputs at a time.
      const index_t slice = measures ? 1 << 20 : 40'000;
      for (const index_t batch : {1, 16}) {  // rows of the head: below 16 and above
        for (const index_t option_tokens : {1, 3}) {
          CAPTURE(zoq::name_of(products));
          CAPTURE(slice);
          CAPTURE(batch);
          CAPTURE(option_tokens);
          CAPTURE(measures);
          const std::vector<example> rows = even_rows(24, 20, option_tokens);
          zoq::plan_request how = {.batch_size = batch, .length = 20, .density = 0.05};
          how.option_tokens = option_tokens;
          how.estimator = zoq::spsa{};
          how.state_floats = zoq::momentum::state_floats;
          how.products = products;
          how.device = {slice, 1000, device_back::most_packed_rows};
          how.measures_epsilon = measures;
          how.measured_rows = measures ? static_cast<index_t>(rows.size()) : 0;
          const zoq::llama_weights weights = zoq::weights_of(model.tensors());
          const auto plan = zoq::plan_tuning(model.config(), weights, how);
          const index_t before = counted_space::live;
          counted_space::watch();
          const device exec({.products = products, .slice_bytes = slice});
          auto view = zoq::sparse_view(exec, model.tensors(), places);
          zoq::trainer run(exec, model, view, zoq::option_likelihood{}, how.estimator, with_state);
          run.start(rows, {.steps = 2, .batch_size = batch});
          run.advance();
          if (measures) {
            run.measure_epsilon();
            run.measure(rows, [](const zoq::evaluation&) { return true; });
          }
          const auto bytes = [&](const char* part) { return plan.bytes(part); };
          CHECK(bytes("linear weights") + bytes("embedding and head") + bytes("norms") ==
                run.pass().weights().byte_count());
          CHECK(bytes("decoded weights") + bytes("rounded inputs") + bytes("turned inputs") +
                    bytes("partial sums") + bytes("library workspace") ==
                exec.byte_count());
          CHECK(bytes("decoded weights") <= slice);
          CHECK(plan.total() == counted_space::live - before);
          CHECK(plan.total() == counted_space::peak - before);
        }
      }
    }
  }
}
#endif

TEST_CASE("plan: of a device it has the device's parts alone, and refuses what only CPUs compute") {
  const zoq::llama_shape m = zoq::llama_shape_named("135m");
  const zoq::llama_weights w = zoq::weights_of(m.config, {format("q4_1"), format("q8_0"), m.tied});
  zoq::plan_request how = {.length = 64, .tokens = 49152};
  how.products = zoq::compute::bf16;
  how.device.emplace();
  const auto plan = zoq::plan_tuning(m.config, w, how);
  for (const char* host : {"program", "tokenizer", "rows of data", "threads", "workspace"}) {
    CHECK(message_of([&] { static_cast<void>(plan.bytes(host)); }).find(host) != std::string::npos);
  }
  CHECK(plan.bytes("linear weights") == w.linear);
  CHECK(plan.bytes("library workspace") == zoq::workspace_limits{}.library_bytes);
  CHECK(plan.bytes("decoded weights") <= zoq::workspace_limits{}.slice_bytes);
  how.products = zoq::compute::f32;
  CHECK(zoq::plan_tuning(m.config, w, how).bytes("rounded inputs") == 0);
  how.products = zoq::compute::i8;
  CHECK(message_of([&] { static_cast<void>(zoq::plan_tuning(m.config, w, how)); }) ==
        "plan: products are f32 or bf16 on a device, i8 is for CPUs only");
}

TEST_CASE("plan: choosing epsilon and measuring rows are in it") {
  const counted_cpu exec;
  const llama model = tiny_llama({.config = small_config(), .format = "q4_1"}).model();
  zoq::mask places = zoq::top_k(zoq::magnitude(model.tensors()), {.density = 0.01});
  const std::vector<example> rows = even_rows(64, 32, 1);
  auto view = zoq::sparse_view(exec, model.tensors(), places);
  zoq::trainer run(exec, model, view, zoq::option_likelihood{}, zoq::any_estimator(zoq::spsa{}),
                   zoq::sgd{});
  run.start(rows, {.steps = 1, .batch_size = 2});
  const auto planned = [&](bool epsilon, index_t measured) {
    zoq::plan_request how = {.batch_size = 2, .length = 32, .density = 0.01};
    how.estimator = zoq::spsa{};
    how.measures_epsilon = epsilon;
    how.measured_rows = measured;
    const auto plan = zoq::plan_tuning(model.config(), zoq::weights_of(model.tensors()), how);
    index_t forward = 0;
    for (const char* part : {"norm gains", "streams", "queries", "keys and values", "gated units",
                             "logits", "rotary table", "token batch", "likelihoods"}) {
      forward += plan.bytes(part);
    }
    CHECK(forward == run.pass().byte_count());
    CHECK(plan.bytes("places") + plan.bytes("values") + plan.bytes("branches") ==
          view.byte_count());
  };
  run.advance();
  planned(false, 0);
  run.measure_epsilon();
  planned(true, 0);
  run.measure(rows, [](const zoq::evaluation&) { return true; });
  planned(true, 64);
}

TEST_CASE("R2: a step takes the memory of evaluation and of k values, and no buffer grows with N") {
  const counted_cpu exec;
  const llama model = tiny_llama({.config = small_config(), .format = "q4_1"}).model();
  const index_t n = model.config().linear_weights();
  zoq::mask places = zoq::top_k(zoq::magnitude(model.tensors()), {.density = 0.001});
  const index_t k = places.count();
  CHECK(k == zoq::planned_places(model.config(), 0.001));
  const std::vector<example> rows = even_rows(2, 12, 1);
  std::vector<const example*> batch;
  for (const example& row : rows) {
    batch.push_back(&row);
  }
  for (const int probes : {1, 3}) {
    const index_t branches = 2 * probes;
    CAPTURE(probes);
    index_t evaluation = 0;
    {
      const index_t before = counted_space::live;
      counted_space::watch();
      zoq::llama_forward<counted_cpu> pass(exec, model);
      zoq::evaluate(pass, {.count = branches, .tensor = {}, .pairs = true},
                    zoq::option_likelihood{}, batch);
      evaluation = counted_space::peak - before;
    }
    const index_t before = counted_space::live;
    counted_space::watch();
    largest_request = 0;
    auto view = zoq::sparse_view(exec, model.tensors(), places);
    zoq::trainer run(exec, model, view, zoq::option_likelihood{}, zoq::spsa{.probes = probes},
                     with_state);
    run.start(rows, {.steps = 3, .batch_size = 2});
    for (int s = 0; s < 3; ++s) {
      run.advance();
    }
    const index_t step = counted_space::peak - before;
    const index_t state = 4 * k * zoq::momentum::state_floats;
    CHECK(step > evaluation);
    CHECK(static_cast<double>(step) <= 1.05 * static_cast<double>(evaluation) +
                                           static_cast<double>(8 * k + 4 * k * branches + state));
    // Not even one byte for each second weight, in the executor's memory or the host's.
    CHECK(counted_space::largest < n / 2);
    CHECK(static_cast<index_t>(largest_request.load()) < n / 2);
  }
}

TEST_CASE("R3: on 256 MiB M in f32 is refused, naming need and budget, and in 4 bits it fits") {
  constexpr index_t budget = index_t{256} << 20;
  CHECK(plan_for_m("q4_1").total() <= budget);
  CHECK(message_of([] { zoq::require_fits(plan_for_m("q4_1"), budget); }).empty());
  const auto floats = plan_for_m("f32");
  CHECK(floats.bytes("linear weights") == 424673280);
  CHECK(floats.total() > budget);
  const std::string message = message_of([&] { zoq::require_fits(floats, budget); });
  CAPTURE(message);
  CHECK(is_one_line(message));
  CHECK(message.starts_with("needs 5"));
  CHECK(message.find(" MB, the budget is 268.4 MB: linear weights 424.7 MB, ") !=
        std::string::npos);
  // bf16 halves them and fits neither.
  CHECK(plan_for_m("bf16").total() > budget);
}

TEST_CASE("R8: the linear part at 0.1 % is at most 0.35 of its f16 size") {
  for (const char* name : {"135m", "7b"}) {
    CAPTURE(name);
    const zoq::llama_shape s = zoq::llama_shape_named(name);
    const auto w = zoq::weights_of(s.config, {format("q4_1"), format("q8_0"), s.tied});
    zoq::plan_request how;
    how.measured_rows = 0;
    const auto plan = zoq::plan_tuning(s.config, w, how);
    CHECK(plan.branches == 6);
    const index_t part = plan.bytes("linear weights") + plan.bytes("places") +
                         plan.bytes("values") + plan.bytes("branches") + plan.bytes("gradient");
    CHECK(static_cast<double>(part) <= 0.35 * 2.0 * static_cast<double>(s.config.linear_weights()));
  }
  CHECK(zoq::planned_places(zoq::llama_shape_named("135m").config, 0.001) == 106020);
}

TEST_CASE("R17: tuning of the 7B shape in 4 bits is planned within 5 GiB") {
  const zoq::llama_shape s = zoq::llama_shape_named("7b");
  CHECK(s.config.linear_weights() == 6476005376);
  const auto w = zoq::weights_of(s.config, {format("q4_1"), format("q8_0"), s.tied});
  CHECK(w.linear == 6476005376 / 32 * 20);
  const auto plan =
      zoq::plan_tuning(s.config, w, {.batch_size = 1, .length = 64, .threads = 2, .tokens = 32000});
  CHECK(plan.total() < index_t{5} << 30);
  CHECK(plan.total() > w.total());
  CHECK(message_of([&] { zoq::require_fits(plan, index_t{5} << 30); }).empty());
}

TEST_CASE("plan: the total is the sum of its parts, and grows with what it is asked for") {
  const zoq::llama_shape s = zoq::llama_shape_named("135m");
  const auto w = zoq::weights_of(s.config, {format("q4_1"), format("q8_0"), s.tied});
  const auto total = [&](const zoq::plan_request& how) {
    const auto plan = zoq::plan_tuning(s.config, w, how);
    CHECK(plan.total() == zoq::bytes_of(plan.parts));
    return plan.total();
  };
  zoq::plan_request base = {.batch_size = 4, .length = 24};
  base.estimator = zoq::spsa{};
  base.products = zoq::compute::bf16;  // which one tuning takes depends on the machine
  base.measures_epsilon = false;
  base.measured_rows = 0;
  const auto with = [&](auto&& change) {
    zoq::plan_request how = base;
    change(how);
    return total(how);
  };
  const index_t least = total(base);
  CHECK(with([](auto& how) { how.batch_size = 16; }) > least);
  CHECK(with([](auto& how) { how.length = 128; }) > least);
  CHECK(with([](auto& how) { how.longest = 128; }) > least);
  CHECK(with([](auto& how) { how.estimator = zoq::spsa{.probes = 3}; }) > least);
  CHECK(with([](auto& how) { how.density = 0.01; }) > least);
  CHECK(with([](auto& how) { how.measures_epsilon = true; }) > least);
  CHECK(with([](auto& how) { how.measured_rows = 100; }) > least);
  CHECK(with([](auto& how) { how.state_floats = 2; }) > least);
  CHECK(with([](auto& how) { how.products = zoq::compute::f32; }) < least);
  // Beyond the limit of a pass, more rows take no more memory.
  CHECK(with([](auto& how) { how.batch_size = 1000; }) ==
        with([](auto& how) { how.batch_size = 2000; }));
}

TEST_CASE("plan: what makes no sense is refused") {
  const zoq::llama_config c = zoq::llama_shape_named("135m").config;
  const auto refused = [&](auto&& change) {
    zoq::plan_request how;
    change(how);
    return message_of([&] { static_cast<void>(zoq::plan_tuning(c, {}, how)); });
  };
  CHECK(refused([](auto&) {}).empty());
  CHECK(refused([](auto& how) { how.length = 9000; }) ==
        "plan: rows of 9000 tokens are longer than the model's context of 8192");
  CHECK(refused([](auto& how) { how.longest = 9000; }) ==
        "plan: rows of 9000 tokens are longer than the model's context of 8192");
  CHECK(refused([](auto& how) { how.density = 0; }) == "plan: density 0 is outside (0, 1]");
  CHECK(refused([](auto& how) { how.density = 1e-9; }) ==
        "plan: density 1e-09 leaves nothing to tune");
  CHECK(refused([](auto& how) { how.option_tokens = 65; }) ==
        "plan: 128 tokens of a row leave none for a prompt before 2 options of 65");
  CHECK(!refused([](auto& how) { how.batch_size = 0; }).empty());
  CHECK(refused([](auto& how) { how.batch_size = index_t{1} << 60; }) ==
        "plan: 1152921504606846976 rows or tokens, at most 2^31");
  CHECK(!refused([](auto& how) { how.threads = 0; }).empty());
}
