// Keys for those who use them. Every page works without this.
'use strict'
let after_g = false
document.addEventListener('keydown', event => {
  const field = event.target.closest('input, textarea, select')
  if (event.ctrlKey || event.metaKey || event.altKey || field) return
  const help = document.getElementById('help')
  const link = after_g && document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`)
  after_g = event.key === 'g' && !link
  if (link) link.click()
  else if (event.key === '/') document.getElementById('q')?.focus()
  else if (event.key === '?') help?.showModal()
  else return
  event.preventDefault()
})
