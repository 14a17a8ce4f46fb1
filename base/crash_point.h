/*
 * crash_point.h - names of the places where a crash is most interesting.
 *
 * Nothing in the program that is installed. tests/crash compiles the files that have such places once more, into a
 * program of its own, in which POSTHASTE_CRASH=NAME:N in the environment kills the process (SIGKILL) when it passes the
 * place of that name for the N-th time. tests/crash/README.md lists them.
 */
#ifndef POSTHASTE_BASE_CRASH_POINT_H
#define POSTHASTE_BASE_CRASH_POINT_H

#ifdef POSTHASTE_CRASH_POINTS
void crash_point(const char *name); /* any thread */
#define CRASH_POINT(name) crash_point(name)
#else
#define CRASH_POINT(name) ((void)0)
#endif

#endif
