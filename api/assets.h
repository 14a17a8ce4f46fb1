/*
 * assets.h - the files that the program carries inside (made by scripts/embed at build time).
 */
#ifndef POSTHASTE_API_ASSETS_H
#define POSTHASTE_API_ASSETS_H

#include <stddef.h>

extern const unsigned char dashboard_html_data[], dashboard_js_data[], views_js_data[], operations_js_data[], dashboard_css_data[],
    chart_js_data[], openapi_json_data[], completion_bash_data[], completion_zsh_data[];
extern const size_t dashboard_html_size, dashboard_js_size, views_js_size, operations_js_size, dashboard_css_size, chart_js_size,
    openapi_json_size, completion_bash_size, completion_zsh_size;

#endif
