/* Stands in for libcuda.so.1: takes the calls that Triton's launcher makes, and keeps what was launched.
 *
 * Types are those of the driver API, as far as the launcher uses them: handles are pointers, results and attributes ints.
 */
#include <stdint.h>
#include <string.h>

typedef struct {
  unsigned grid[3], block[3], shared;
  void *stream, *attributes;
  unsigned count;
} Config;

enum { REGISTERS_OF_BLOCK = 12, CAPABILITY_MAJOR = 75, CAPABILITY_MINOR = 76, SHARED_OF_BLOCK = 97 };

/* Set and read by the test. */
int standin_major, standin_minor, standin_shared;
int standin_sizes[256], standin_parameters; /* of the next launch's parameters, in bytes */
unsigned standin_grid[3], standin_block[3], standin_dynamic;
uint64_t standin_values[256];
int standin_launches, standin_loads;

static int context;

int cuGetErrorString(int error, const char **text) { *text = "the stand-in says no"; return 0; }
int cuCtxGetCurrent(void **current) { *current = &context; return 0; }
int cuCtxSetCurrent(void *current) { return 0; }
int cuCtxGetDevice(int *device) { *device = 0; return 0; }
int cuCtxGetLimit(size_t *value, int limit) { *value = 0; return 0; }
int cuCtxSetLimit(int limit, size_t value) { return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDevicePrimaryCtxRetain(void **current, int device) { *current = &context; return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }

int cuDeviceGetAttribute(int *value, int attribute, int device) {
  *value = attribute == CAPABILITY_MAJOR    ? standin_major
           : attribute == CAPABILITY_MINOR  ? standin_minor
           : attribute == SHARED_OF_BLOCK   ? standin_shared
           : attribute == REGISTERS_OF_BLOCK ? 65536
                                            : 32;
  return 0;
}

int cuModuleLoadData(void **module, const void *image) {
  *module = (void *)image;
  return memcmp(image, "\177ELF", 4) ? 200 : 0; /* CUDA_ERROR_INVALID_IMAGE */
}
int cuModuleGetFunction(void **function, void *module, const char *name) {
  standin_loads++;
  *function = module;
  return 0;
}
int cuModuleUnload(void *module) { return 0; }
int cuFuncGetAttribute(int *value, int attribute, void *function) { *value = attribute == 0 ? 1024 : 0; return 0; }
int cuFuncSetAttribute(void *function, int attribute, int value) { return 0; }
int cuFuncSetCacheConfig(void *function, int config) { return 0; }

/* A host's tensor counts as the device's. */
int cuPointerGetAttribute(void *value, int attribute, uint64_t pointer) { *(uint64_t *)value = pointer; return 0; }

int cuLaunchKernelEx(const Config *config, void *function, void **parameters, void **extra) {
  memcpy(standin_grid, config->grid, sizeof standin_grid);
  memcpy(standin_block, config->block, sizeof standin_block);
  standin_dynamic = config->shared;
  for (int i = 0; i < standin_parameters; i++) {
    standin_values[i] = 0;
    memcpy(&standin_values[i], parameters[i], standin_sizes[i]);
  }
  standin_launches++;
  return config->grid[1] > 65535 || config->grid[2] > 65535; /* CUDA_ERROR_INVALID_VALUE */
}

int cuOccupancyMaxActiveClusters(int *count, void *function, const void *config) { *count = 1; return 0; }
int cuTensorMapEncodeTiled(void) { return 801; /* CUDA_ERROR_NOT_SUPPORTED */ }
int cuTensorMapEncodeIm2col(void) { return 801; }
