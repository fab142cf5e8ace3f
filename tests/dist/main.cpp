// The cases of a team of MPI processes, on each of them: mpirun -n 4 test_mpi
// SPDX-License-Identifier: Apache-2.0
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <mpi.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <vector>

#include "train/team_run.hpp"
#include "zoq/dist/mpi_team.hpp"

using namespace zoq::test;

TEST_CASE("mpi: the values of one process to the bit, on all") {
  const team_task t;
  for (const team_work& w : team_works()) {
    CAPTURE(w.estimator);
    const team_result one = run_of(w, t.model, t.places, t.rows, zoq::alone{});
    REQUIRE(one.wrong.empty());
    for (const zoq::shared deals : {zoq::shared::rows, zoq::shared::points}) {
      const team_result mine =
          run_of(w, t.model, t.places, t.rows, zoq::mpi_team(MPI_COMM_WORLD, {.share = deals}));
      CHECK(mine.wrong.empty());
      CHECK(mine.values == one.values);
      CHECK(mine.tokens <= one.tokens);
    }
  }
}

TEST_CASE("mpi: who is silent is given up") {
  const zoq::mpi_team team(MPI_COMM_WORLD, {.patience = 0.3});
  if (team.size() == 1) {
    return;
  }
  MPI_Comm apart = MPI_COMM_NULL;
  MPI_Comm_dup(MPI_COMM_WORLD, &apart);
  const zoq::mpi_team waits(apart, {.patience = 0.3});
  std::vector<std::int64_t> numbers(3, 1);
  if (team.rank() == 0) {
    std::string said;
    try {
      waits.add_up(numbers);
    } catch (const zoq::error& e) {
      said = e.what();
    }
    CHECK(said.find("process 0 of ") == 0);
    CHECK(said.find("have not answered for 0.3 s") != std::string::npos);
    MPI_Barrier(MPI_COMM_WORLD);
  } else {
    MPI_Barrier(MPI_COMM_WORLD);
    waits.add_up(numbers);  // late: what the first sent is still there
    CHECK(numbers[0] == team.size());
  }
  MPI_Barrier(MPI_COMM_WORLD);
}

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  doctest::Context context(argc, argv);
  int failed = context.run(), any = 0;
  MPI_Allreduce(&failed, &any, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  MPI_Finalize();
  return any;
}
