"""The codes by which providers name an error: a closed list, the only ones that are ever stored."""

from collections.abc import Iterable
from typing import Final

OTHER: Final = "other"
_NUMBERED: Final = (
    "1261 2003 2008 2009 2016 2017 2029 2030 3003 3006 3007 3008 3023 3036 3039 3040 3041 3042"
    " 5004 5005 5007 5016 5018 5019 5021 7000 7001 7003 7009 9109 10000"
)
_NAMED: Final = (
    "access_terminated api_connection_error api_error api_error_internal authentication"
    " authentication_error bad_gateway bad_request billing_error billing_hard_limit_reached"
    " billing_not_active capacity_exceeded conflict_error content_filter content_policy_violation"
    " context_length_exceeded context_window_exceeded credit_balance_exhausted"
    " data_inspection_failed deadline_exceeded empty_image_file engine_overloaded"
    " engine_overloaded_error exceed_context_size_error exceeded_current_quota_error"
    " failed_precondition failed_to_download_image forbidden gateway_timeout"
    " image_content_policy_violation image_file_not_found image_file_too_large image_parse_error"
    " image_too_large image_too_small insufficient_quota insufficient_user_quota internal"
    " internal_error internal_server_error invalid_api_key invalid_argument invalid_base64_image"
    " invalid_function_parameters invalid_image invalid_image_format invalid_image_mode"
    " invalid_image_url invalid_model invalid_parameter invalid_parameter_error invalid_prompt"
    " invalid_request invalid_request_error invalid_type invalid_value json_invalid"
    " json_validate_failed max_tokens_exceeded method_not_allowed missing"
    " missing_required_parameter model_context_window_exceeded model_decommissioned"
    " model_deprecated model_not_active model_not_found moderation moderation_blocked no_capacity"
    " not_found not_found_error organization_restricted overloaded overloaded_error"
    " payload_too_large payment_required permission_denied permission_error"
    " previous_response_not_found provider_error provider_overloaded"
    " provider_unavailable quota_exceeded rate_limit_error"
    " rate_limit_exceeded rate_limit_reached_error refusal request_timeout request_too_large"
    " requests resource_exhausted resource_not_found responsible_ai_policy_violation server_error"
    " server_is_overloaded service_unavailable slow_down string_above_max_length timeout"
    " timeout_error token_limit_exceeded tokens tokens_limit_reached too_many_requests"
    " tool_use_failed unauthenticated unauthorized unavailable unknown_error unknown_parameter"
    " unknown_url unprocessable unprocessable_entity unsupported_country_region_territory"
    " unsupported_image_media_type unsupported_model unsupported_parameter unsupported_value"
    " upstream_error user_error validation_error value_error wrong_endpoint"
)
PROVIDER_CODES: Final = frozenset((*_NUMBERED.split(), *_NAMED.split()))


def stored_code(said: Iterable[str]) -> str:
    """Give the first of a provider's own codes that is on the list; `other`, or empty for none.

    A status repeated as a code says nothing that the status does not.
    """
    has_other = False
    for code in said:
        name = code.lower()
        if name in PROVIDER_CODES:
            return name
        has_other = has_other or not (name.isascii() and name.isdigit())
    return OTHER if has_other else ""
