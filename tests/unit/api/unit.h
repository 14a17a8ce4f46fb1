/*
 * unit.h - what every unit test of api/ includes, in the order that cmocka needs.
 */
#ifndef POSTHASTE_TESTS_UNIT_API_UNIT_H
#define POSTHASTE_TESTS_UNIT_API_UNIT_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/str.h"

#endif
