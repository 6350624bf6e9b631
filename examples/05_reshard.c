// 5. Checkpoints hold global tensors: half of the ranks write one, all of them read it, in other
// pieces.
//
//     mpirun -n 4 build/examples/05_reshard
//
// A tensor of 1000 numbers is cut evenly among the writers; each puts its piece into its own HDF5
// shard, and a manifest with checksums makes the set a checkpoint. The readers cut it differently.
// Then one byte of a shard is flipped, and the checkpoint is refused.
#define _GNU_SOURCE
#include "examples/example.h"
#include "runtime/store.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

enum { COUNT = 1000 };

static const int64_t dims[] = {20, 50};

// Collective on the writers' communicator.
static canto_status save(canto_comm *writers, const char *dir)
{
    const int64_t begin = COUNT * writers->rank / writers->size;
    const int64_t end = COUNT * (writers->rank + 1) / writers->size;
    float values[COUNT];
    for (int64_t i = begin; i < end; i++) values[i - begin] = example_number("weight", i);
    canto_store_writer *writer;
    CANTO_TRY(canto_store_begin(writers, dir, 7, &writer));
    CANTO_TRY(canto_store_write(writer, "weight", CANTO_F32, 2, dims, begin, end - begin, values));
    CANTO_TRY(canto_store_write_text(writer, "note", "written by an example"));
    // Either every rank's shard is on disk and the checkpoint is published, or nothing is.
    return canto_store_commit(&writer, 0);
}

// Collective on the world: every rank reads a run of its own, overlapping its neighbours'.
static canto_status load(canto_comm *world, const char *dir, double *different)
{
    canto_store_reader *reader;
    CANTO_TRY(canto_store_open(world, dir, -1, NULL, NULL, &reader));
    const int64_t begin = 100 * world->rank % COUNT;
    const int64_t count = COUNT - begin;
    float values[COUNT];
    canto_status status =
        canto_store_read(reader, "weight", CANTO_F32, 2, dims, begin, count, values);
    canto_store_close(&reader);
    *different = 0;
    for (int64_t i = 0; status == CANTO_OK && i < count; i++)
        *different += values[i] != example_number("weight", begin + i);
    return canto_comm_agree(world, status);
}

static canto_status flip_byte(const char *dir)
{
    char path[200];
    snprintf(path, sizeof path, "%s/step-00000007/shard-0000-of-%04d.h5", dir, 1);
    FILE *file = fopen(path, "r+");
    for (int shards = 2; !file && shards < 100; shards++) {
        snprintf(path, sizeof path, "%s/step-00000007/shard-0000-of-%04d.h5", dir, shards);
        file = fopen(path, "r+");
    }
    if (!file) CANTO_FAIL(CANTO_ERROR_IO, "cannot open the first shard in %s", dir);
    fseek(file, 1000, SEEK_SET);
    int byte = fgetc(file);
    fseek(file, 1000, SEEK_SET);
    fputc(byte ^ 1, file);
    fclose(file);
    return CANTO_OK;
}

static canto_status run_in(canto_comm *world, const char *dir)
{
    const int writers_n = (world->size + 1) / 2;
    canto_comm *group;
    double different;
    CANTO_TRY(canto_comm_split(world, "writers", world->rank < writers_n, &group));
    canto_status status = world->rank < writers_n ? save(group, dir) : CANTO_OK;
    CANTO_TRY(canto_comm_agree(world, status));
    canto_comm_destroy(&group);
    CANTO_TRY(load(world, dir, &different));
    CANTO_TRY(example_check(world, "numbers that came back different", different, 0));

    CANTO_TRY(canto_comm_agree(world, world->rank == 0 ? flip_byte(dir) : CANTO_OK));
    status = load(world, dir, &different);
    CANTO_TRY(
        example_check(world, "damaged checkpoints accepted", status != CANTO_ERROR_CHECKPOINT, 0));
    if (world->rank == 0)
        printf("%d ranks wrote, %d read; after the flip: %s\n", writers_n, world->size,
               canto_error_message());
    canto_error_clear();
    return CANTO_OK;
}

static canto_status run(canto_comm *world, canto_arena *arena)
{
    (void)arena;
    char dir[64] = "/tmp/canto-reshard-XXXXXX";
    canto_status status = CANTO_OK;
    if (world->rank == 0 && !mkdtemp(dir))
        status = canto_error_raise(CANTO_ERROR_IO, __FILE__, __LINE__,
                                   "cannot make a directory in /tmp");
    CANTO_TRY(canto_comm_agree(world, status));
    CANTO_TRY(canto_comm_bcast(world, 0, canto_tensor_vector(CANTO_U8, dir, sizeof dir)));
    status = run_in(world, dir);
    if (world->rank == 0) {
        char command[100];
        snprintf(command, sizeof command, "rm -r %s", dir);
        if (system(command) != 0) fprintf(stderr, "%s is left behind\n", dir);
    }
    return status;
}

int main(void)
{
    return example_main(run);
}
