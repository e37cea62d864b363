{%- from 'pair/map.jinja' import node with context %}
# A node that takes over has the other one switched off first, where the pillar's `fence` names an agent for it.
{%- for pair in salt['pair.names']() %}
{%- if salt['pair.fence_agent'](pair) %}
The fence agents for {{ pair }} are installed:
  pkg.installed:
    - pkgs: {{ node.fence_packages | tojson }}
    - require_in:
      - pair: The node knows how the other node of {{ pair }} is switched off
{%- endif %}

# In a file of its own, since its options have passwords, which no output may show. Without an agent in the
# pillar an old file is removed.
The node knows how the other node of {{ pair }} is switched off:
  pair.fence_agent_known:
    - pair: {{ pair }}
    - require:
      - file: The node knows the pair {{ pair }}
{%- endfor %}
