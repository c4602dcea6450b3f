"""The only words of a provider's error that are kept: English of errors, and members of requests.

A list of what may stay needs no list of the ways in which a text can be disguised.
"""

from typing import Final

from jusinfer.domain.provider_codes import PROVIDER_CODES

_ENGLISH: Final = """
a about above accept accepted accepts additional after again all allow allowed already also an and
any api are argument arguments array as assistant at attempt audio available bad base64 be because
been before begin below between body boolean both bounds budget but by byte bytes cache cached
call calls can cannot capacity character characters chat choice choices client code combined
completion completions complete concurrent configured conflict contain contained contains content
context could count currently data day days decimal decode default deprecated developer did
different dimension dimensions disabled do document does doesn isn duplicate each either element
elements embedding embeddings empty enabled encoded encoding end endpoint enough enum equal error
errors event exactly exceed exceeded exceeding exceeds exist exists expected extra fail failed
false feature field fields file files final first float follow followed following for format found
from function functions generate generated generation given got greater had has have header high
higher however id identifier if image images in include included including incomplete incorrect
index input inputs instead int integer internal invalid is it item items its json kind large
larger last later least length less level limit limits list load long longer low lower malformed
many match matching max maximum may media message messages method min minimum minute minutes
missing mode model models more most multiple must name named names negative nested next no non
none not null number numbers object objects of off on one only open option options or order other
out output outside over overloaded parallel parameter parameters parse parsed part parts pattern
per permitted please position positive possible present previous process processing prompt
properties property provide provided provider range rate reached read reason reasoning receive
received reduce reducing reduced reference refused rejected remove removed request requested
requests require required requires resolution response responses result resulted results retry
return role roles same schema second seconds see send sent sequence server service set shape
shorten should since size s small smaller some specified specify start state status stop stream
streaming strict string strings sum supplied support supported supports system t temperature text
than that the their them then there these they this those time timeout to together token tokens
too tool tools top total true try turn turns two type types unable unexpected unique unknown
unprocessable unrecognized unsupported until up upstream url use used user uses using valid
validation value values version video vision was were when where whether which while will window
with within without words would wrong you your zero
"""
_MEMBERS: Final = """
allowed_tools anyof audio_url budget_tokens cache_control chat_template_kwargs content_type
cache_creation completion_tokens context_length context_window custom_tool_call dimensions
disable_parallel_tool_use encoding_format file_data file_id file_url filename finish_reason
frequency_penalty function_call generation_config image_url include_usage input_audio input_file
input_image input_schema input_text input_tokens instructions json_object json_schema logit_bias
logprobs max_completion_tokens max_new_tokens max_output_tokens max_tokens max_tool_calls
media_type metadata min_p modalities n oneof output_config output_text output_tokens
parallel_tool_calls prediction presence_penalty previous_response_id prompt_cache_key
prompt_cache_retention prompt_tokens reasoning_content reasoning_effort repetition_penalty
response_format safety_identifier seed service_tier stop_sequences store stream_options suffix
thinking thinking_config tool_call_id tool_calls tool_choice tool_result tool_use tool_use_id top_a
top_k top_logprobs top_p truncation verbosity web_search_options
"""
_CODES: Final = frozenset(code for code in PROVIDER_CODES if not code.isdigit())
ERROR_WORDS: Final = frozenset(_ENGLISH.split()) | frozenset(_MEMBERS.split()) | _CODES
