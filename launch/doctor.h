// The checks of `canto doctor`: one row of a table each, so that a new check is a new row. A check
// looks at one thing and says what it found, and, unless all is well, what to do.
#ifndef CANTO_LAUNCH_DOCTOR_H
#define CANTO_LAUNCH_DOCTOR_H

#include "runtime/comm.h"

typedef enum canto_verdict {
    CANTO_VERDICT_OK,
    CANTO_VERDICT_WARN, // works, but slower or less far than it could
    CANTO_VERDICT_FAIL  // does not work
} canto_verdict;

// Small enough for canto_comm_gather_small.
typedef struct canto_finding {
    canto_verdict verdict;
    char text[300];
    char advice[300]; // empty if all is well
} canto_finding;

// What the checks look at.
typedef struct canto_patient {
    const char *dir;    // where runs are to be written
    const char *root;   // before /proc, /sys and /dev; "" but in tests
    int64_t free_bytes; // that DIR should have for checkpoints
    canto_comm *world;  // borrowed
    bool launched;      // by mpirun or its like: MPI runs, and there may be more ranks
} canto_patient;

typedef void (*canto_check_look)(const canto_patient *patient, canto_finding *out);

typedef struct canto_check {
    const char *name;
    bool together; // collective on the world, and only under a launcher; else every rank by itself
    canto_check_look look;
} canto_check;

extern const canto_check canto_checks[]; // ended by name NULL

// advice NULL: none.
void canto_find(canto_finding *out, canto_verdict verdict, const char *advice, const char *format,
                ...) __attribute__((format(printf, 4, 5)));
// Text of a small file below patient->root, without its line end; false if it cannot be read.
bool canto_patient_read(const canto_patient *patient, const char *path, size_t size, char *text);
// Whether a program is found by PATH.
bool canto_program_found(const char *name, size_t size, char *path);

// doctor_host.c
void canto_look_at_memory(const canto_patient *patient, canto_finding *out);
void canto_look_at_stack(const canto_patient *patient, canto_finding *out);
void canto_look_at_directory(const canto_patient *patient, canto_finding *out);
void canto_look_at_shared_memory(const canto_patient *patient, canto_finding *out);
void canto_look_at_temporary(const canto_patient *patient, canto_finding *out);
void canto_look_at_gnuplot(const canto_patient *patient, canto_finding *out);
// doctor_processor.c
void canto_look_at_build(const canto_patient *patient, canto_finding *out);
void canto_look_at_instructions(const canto_patient *patient, canto_finding *out);
void canto_look_at_level(const canto_patient *patient, canto_finding *out);
void canto_look_at_topology(const canto_patient *patient, canto_finding *out);
void canto_look_at_threads(const canto_patient *patient, canto_finding *out);
void canto_look_at_blas(const canto_patient *patient, canto_finding *out);
void canto_look_at_dnnl(const canto_patient *patient, canto_finding *out);
void canto_look_at_cuda(const canto_patient *patient, canto_finding *out);
// doctor_ranks.c
void canto_look_at_mpi(const canto_patient *patient, canto_finding *out);
void canto_look_at_launcher(const canto_patient *patient, canto_finding *out);
void canto_look_at_hdf5(const canto_patient *patient, canto_finding *out);
void canto_look_at_copies(const canto_patient *patient, canto_finding *out);
void canto_look_at_ranks(const canto_patient *patient, canto_finding *out);    // together
void canto_look_at_program(const canto_patient *patient, canto_finding *out);  // together
void canto_look_at_sharing(const canto_patient *patient, canto_finding *out);  // together
void canto_look_at_messages(const canto_patient *patient, canto_finding *out); // together

#endif
